// How one install goes.

import { store } from './alpine.js'
import { bytesText, percentText, shortName } from './formats.js'
import { component } from './live.js'

const downloads = store('downloads')

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
