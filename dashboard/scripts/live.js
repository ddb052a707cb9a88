// Components that show one thing's live figures, those that more than one page has. A getter without a value leaves
// the server's text in place.

import { data, store } from './alpine.js'
import { durationText, percentText } from './formats.js'

const runs = store('runs')
const system = store('system')

// Templates name the thing in data-id. Read at every use: a morph may give the element another one.
export const component = (name, getters) => data(name, () => Object.defineProperties({
  root: null,
  init() { this.root = this.$el },
}, Object.getOwnPropertyDescriptors(getters)))

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
  get eta() {
    const seconds = this.status?.eta_seconds
    return this.status && (seconds ? `about ${durationText(seconds)} left` : '')
  },
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
