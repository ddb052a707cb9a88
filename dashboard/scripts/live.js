// Components that show one thing's live figures. A getter without a value leaves the server's text in place.

import { data, store } from './alpine.js'
import { bytesText, durationText, percentText, shortName, speedText } from './formats.js'

const downloads = store('downloads')
const runs = store('runs')
const system = store('system')

// Templates name the thing in data-id. Read at every use: a morph may give the element another one.
const component = (name, getters) => data(name, () => Object.defineProperties({
  root: null,
  init() { this.root = this.$el },
}, Object.getOwnPropertyDescriptors(getters)))

// Without a total there is no percentage: what has arrived is all there is to say.
const percentOrBytes = ({ progress, bytes_done: done }) => (progress === null ? bytesText(done) : percentText(progress))
const amount = ({ bytes_done: done, bytes_total: total }) => (total === null ? bytesText(done) : `${bytesText(done)} / ${bytesText(total)}`)

component('download', {
  get status() { return downloads.byId[this.root.dataset.id] },
  get progress() { return this.status?.progress },
  get percent() { return this.status && percentOrBytes(this.status) },
  get speed() { return this.status?.speed ?? undefined },
  get eta() { return this.status?.state === 'downloading' ? this.status.eta ?? '' : undefined },
  get error() { return this.status?.error },
  get amount() { return this.status && amount(this.status) },
  get rate() {
    const { state, speed, eta } = this.status ?? {}
    if (state !== 'downloading') return undefined
    return [speed, eta && `${eta} left`].filter(Boolean).map((part) => ` · ${part}`).join('')
  },
  get file() {
    const file = this.status?.files.find(({ state }) => state === 'downloading' || state === 'verifying')
    return file && shortName(file.name)
  },
})

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

component('totals', {
  get text() {
    const active = Object.values(downloads.byId).filter(({ state }) => state === 'downloading')
    if (!active.length) return undefined
    const sum = (value) => active.reduce((total, install) => total + value(install), 0)
    const left = sum(({ bytes_done: done, bytes_total: total }) => (total ?? done) - done)
    return `${active.length} active · ${speedText(sum((install) => install.bytes_per_second ?? 0))} · ${bytesText(left)} to go`
  },
})

component('run', {
  get status() { return runs.byId[this.root.dataset.id] },
  get preview() { return this.status?.preview_url },
  get progress() { return this.status?.progress },
  get percent() { return this.status && percentText(this.status.progress) },
  get nodeClass() { return this.status?.node_class },
  get nodes() {
    const { nodes_done: done, nodes_total: total } = this.status ?? {}
    return total ? `node ${Math.min(done + 1, total)} of ${total}` : undefined
  },
  get steps() { return this.status && (this.status.steps ? `step ${this.status.step} of ${this.status.steps}` : '') },
  get elapsed() {
    void system.status // comes every two seconds: a node may say nothing for minutes
    const startedAt = this.status?.started_at
    return startedAt && durationText(Date.now() / 1000 - startedAt)
  },
})

component('work', {
  get text() {
    const parts = [[runs.running, 'running'], [runs.pending, 'queued']]
    return parts.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(', ')
  },
})

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
