// The list of presets: filters by text, kind, memory and state, without asking the server. Beside it the detail of one.

import { data } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText } from './formats.js'
import { refresh, visitDetail } from './refresh.js'
import { actions, count } from './suite.js'
import { toast } from './toasts.js'

data('presets', () => ({
  words: [],
  kind: '',
  states: '',
  origin: '',
  fits: false,
  shown: 0,
  total: 0,
  root: null,
  swapped: null,
  init() {
    this.root = this.$el
    this.swapped = () => this.apply()
    document.addEventListener('htmx:after:swap', this.swapped)
    this.apply()
  },
  destroy() { document.removeEventListener('htmx:after:swap', this.swapped) },
  search(event) {
    this.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean)
    this.apply()
  },
  isKind(button) { return button.dataset.value === this.kind },
  chooseKind(event) {
    this.kind = event.currentTarget.dataset.value
    this.apply()
  },
  chooseStatus(event) {
    this.states = event.target.value
    this.apply()
  },
  chooseOrigin(event) {
    this.origin = event.target.value
    this.apply()
  },
  toggleFits() {
    this.fits = !this.fits
    this.apply()
  },
  reset() {
    Object.assign(this, { words: [], kind: '', states: '', origin: '', fits: false })
    for (const field of this.root.querySelectorAll('.filters :is(input, select)')) field.value = ''
    this.apply()
  },
  apply() {
    const cards = [...this.root.querySelectorAll('.card')]
    const selected = this.root.querySelector('#detail')?.dataset.selected
    for (const card of cards) {
      card.hidden = !this.matches(card.dataset)
      // Only the detail was fetched: the mark on its card is set here.
      card.toggleAttribute('aria-current', card.dataset.preset === selected)
    }
    this.total = cards.length
    this.shown = cards.filter((card) => !card.hidden).length
    this.root.querySelector('#cards-none').hidden = this.shown > 0 || !this.total
  },
  matches({ words, kind, state, origin, vram }) {
    return this.words.every((word) => words.includes(word))
      && (!this.kind || kind === this.kind)
      && (!this.states || this.states.split(' ').includes(state))
      && (!this.origin || origin === this.origin)
      && (!this.fits || Number(vram) <= Number(this.root.dataset.gpu))
  },
  get summary() {
    return this.shown === this.total ? `${this.total} preset${this.total === 1 ? '' : 's'}` : `${this.shown} of ${this.total} presets`
  },
}))

// A sheet that opens over the list takes the focus with it, and gives it back to the card.
document.addEventListener('htmx:after:swap', ({ detail }) => {
  if (detail.ctx.select !== '#detail' || detail.ctx.swap === 'outerMorph') return
  document.getElementById('detail-title')?.focus({ preventScroll: true })
})

const uninstall = (button, { id, title }) => attempt(button, async () => {
  const path = api`/api/presets/${id}`
  const { removed, kept, freed_bytes: freed } = await call('DELETE', `${path}?dry_run=true`)
  const agreed = await confirmed({
    title: `Uninstall ${title}?`,
    text: `Removes ${count(removed.length, 'file')}, frees ${bytesText(freed)}.${kept.length ? ` Keeps ${count(kept.length, 'file')}.` : ''}`,
    items: [...removed.map((name) => ({ name, note: '' })), ...kept.map(({ name, reason }) => ({ name, note: `kept: ${reason}` }))],
    label: 'Uninstall',
  })
  if (!agreed) return
  const done = await call('DELETE', path)
  const stays = done.kept.length ? `, kept ${count(done.kept.length, 'file')} that something else needs` : ''
  toast(`Removed ${count(done.removed.length, 'file')}, ${bytesText(done.freed_bytes)}${stays}.`)
  refresh('downloads', 'presets', 'models')
})

const useFile = (button, { id, folder, name }) => attempt(button, async () => {
  await call('POST', api`/api/models/${id}/place`, { folder, name })
  toast(`${name} is in ${folder} now, and takes no more space.`)
  refresh('*')
})

function detail(link, data, event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  visitDetail(link.pathname)
}

Object.assign(actions, { detail, uninstall, useFile })
