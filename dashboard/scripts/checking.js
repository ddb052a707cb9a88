// Asks for the digests of files that were copied in by hand, and shows how far that is.

import { data, store } from './alpine.js'
import { attempt, call } from './api.js'
import { bytesText, shortName, speedText } from './formats.js'
import { toast } from './toasts.js'

const adoption = store('adoption')

data('adoption', () => ({
  get idle() { return !adoption.status },
  get part() { return adoption.status && adoption.status.bytes_done / (adoption.status.bytes_total || 1) },
  get text() {
    if (!adoption.status) return ''
    const { file, files_left: left, bytes_done: done, bytes_total: total, bytes_per_second: speed } = adoption.status
    const what = file ? shortName(file.name) : ''
    return `Checking ${what} · ${bytesText(done)} / ${bytesText(total)} · ${speedText(speed)} · ${left} left`
  },
  async check({ currentTarget: button }) {
    await attempt(button, async () => {
      const { queued } = await call('POST', '/api/models/adopt', { all: true })
      if (!queued) toast('Every file was checked already.')
    })
  },
  async stop({ currentTarget: button }) {
    await attempt(button, () => call('DELETE', '/api/models/adopt'))
  },
}))
