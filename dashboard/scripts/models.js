// The table of models: what is ticked, and deleting it.

import { data } from './alpine.js'
import { attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText } from './formats.js'
import { refresh } from './refresh.js'
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
  get summary() { return `${this.count} selected, ${bytesText(this.bytes)}` },
  async remove({ currentTarget: button }) {
    const ticked = this.ticked()
    const used = ticked.some((box) => box.dataset.users)
    const agreed = await confirmed({
      title: `Delete ${ticked.length} model${ticked.length === 1 ? '' : 's'}, ${bytesText(this.bytes)}?`,
      text: used ? 'Presets use some of these files; they stop working until installed again.' : 'The files are removed from the volume.',
      items: ticked.map(({ dataset }) => ({ name: dataset.name, note: dataset.users })),
      label: `Delete, ${bytesText(this.bytes)}`,
      word: used ? 'delete' : '',
    })
    if (!agreed) return
    await attempt(button, async () => {
      const answer = await call('DELETE', '/api/models/', { ids: ticked.map((box) => box.dataset.id) })
      toast(`Deleted ${answer.removed.length} of ${ticked.length}, freed ${bytesText(answer.freed_bytes)}.`)
      this.clear()
      refresh('models', 'downloads', 'presets')
    })
  },
}))
