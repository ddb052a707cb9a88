// The table of models: what is ticked, and deleting it.

import { data } from './alpine.js'
import { attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText } from './formats.js'
import { refresh } from './refresh.js'
import { actions } from './suite.js'
import { toast } from './toasts.js'

data('models', () => ({
  count: 0,
  bytes: 0,
  root: null,
  swapped: null,
  init() {
    this.root = this.$el
    this.swapped = () => this.select()
    document.addEventListener('htmx:after:swap', this.swapped)
    this.select()
  },
  destroy() { document.removeEventListener('htmx:after:swap', this.swapped) },
  boxes() { return [...this.root.querySelectorAll('[data-id]')] },
  ticked() { return this.boxes().filter((box) => box.checked) },
  select() {
    const ticked = this.ticked()
    this.count = ticked.length
    this.bytes = ticked.reduce((total, box) => total + Number(box.dataset.size), 0)
    const all = this.root.querySelector('[data-all]')
    if (!all) return
    all.checked = ticked.length > 0 && ticked.length === this.boxes().length
    all.indeterminate = ticked.length > 0 && !all.checked
  },
  selectAll(event) {
    for (const box of this.boxes()) box.checked = event.target.checked
    this.select()
  },
  clear() {
    for (const box of this.boxes()) box.checked = false
    this.select()
  },
  filter(event) { event.target.form.requestSubmit() },
  sort({ target }) {
    const { sort, order } = target.form.elements
    ;[sort.value, order.value] = target.value.split(' ')
    target.form.requestSubmit()
  },
  get summary() { return `${this.count} selected, ${bytesText(this.bytes)}` },
  async remove({ currentTarget: button }) {
    const ids = this.ticked().map((box) => box.dataset.id)
    const names = Object.fromEntries(this.ticked().map(({ dataset }) => [dataset.id, dataset.name]))
    await attempt(button, async () => {
      const { kept, freed_bytes: freed } = await call('DELETE', '/api/models/?dry_run=true', { ids })
      const reasons = Object.fromEntries(kept.map(({ id, reason }) => [id, reason]))
      const agreed = await confirmed({
        title: `Delete ${ids.length} model${ids.length === 1 ? '' : 's'}?`,
        text: kept.length ? 'Some of these files are needed: what needs them stops working until they are installed again.' : `The files are removed from the volume, which frees ${bytesText(freed)}.`,
        items: ids.map((id) => ({ name: names[id], note: reasons[id] ?? '' })),
        label: 'Delete',
        word: kept.length ? 'delete' : '',
      })
      if (!agreed) return
      const answer = await call('DELETE', '/api/models/', { ids, force: kept.length > 0 })
      toast(`Deleted ${answer.removed.length} of ${ids.length}, freed ${bytesText(answer.freed_bytes)}.`)
      this.clear()
      refresh('models', 'downloads', 'presets')
    })
  },
}))

const unite = (button) => attempt(button, async () => {
  let freed = 0
  const { groups } = await call('GET', '/api/models/duplicates')
  for (const [done, { sha256 }] of groups.entries()) {
    button.textContent = `${done} of ${groups.length}`
    freed += (await call('POST', '/api/models/duplicates', { sha256 })).freed_bytes
  }
  toast(`Freed ${bytesText(freed)}.`)
  refresh('models')
})

Object.assign(actions, { unite })
