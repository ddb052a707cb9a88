// One file of the preset whose detail is shown.

import { store } from './alpine.js'
import { speedText } from './formats.js'
import { component } from './live.js'

const downloads = store('downloads')

component('file', {
  get status() {
    const { presetId, id } = this.root.dataset
    return downloads.byId[presetId]?.files.find((each) => each.id === id)
  },
  get part() { return this.status?.bytes_total ? this.status.bytes_done / this.status.bytes_total : undefined },
  get pace() {
    const { bytes_per_second: speed, connections } = this.status ?? {}
    if (!speed) return ''
    return ` · ${speedText(speed)}${connections ? ` over ${connections} connection${connections === 1 ? '' : 's'}` : ''}`
  },
})
