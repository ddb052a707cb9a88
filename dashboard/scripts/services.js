// Home's list of services, and the memory of each card.

import { store } from './alpine.js'
import { bytesText, durationText } from './formats.js'
import { component } from './live.js'

const system = store('system')

component('process', {
  get uptime() {
    const process = system.status?.processes.find(({ name }) => name === this.root.dataset.name)
    return process?.uptime_seconds && durationText(process.uptime_seconds)
  },
})

component('vram', {
  get used() { return system.status?.gpus[this.root.dataset.index]?.memory_used_bytes },
  get usedText() { return this.used === undefined ? undefined : bytesText(this.used) },
})
