// Files that were copied in by hand and whose digests are computed: how far that is, and how it ended.

import { store } from './alpine.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

store('adoption', { status: null })

const adoption = store('adoption')

/** Takes in what the socket says. */
export function applyAdoption(status) {
  if (adoption.status?.files_left && !status.files_left) ended(status)
  adoption.status = status.files_left ? status : null
}

function ended({ failed }) {
  if (failed.length) toast(failed.map(({ name, reason }) => `${name}: ${reason}`).join(' '), { tone: 'bad' })
  else toast('Every file is checked.', { tone: 'ok' })
  refresh('models', 'presets')
}
