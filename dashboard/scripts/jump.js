// The jump list: Ctrl K, a few letters, Enter.

import { data } from './alpine.js'
import { call } from './api.js'
import { visit } from './refresh.js'

const SHOWN = 8
const PAGES = [['Home', '/', 'g h'], ['Presets', '/presets', 'g p'], ['Models', '/models', 'g m'], ['Workflows', '/workflows', 'g w'], ['Outputs', '/outputs', 'g o'], ['Settings', '/settings', 'g s']]
  .map(([text, href, note]) => ({ text, href, note }))

export function openJump() {
  document.getElementById('jump').showModal()
  document.dispatchEvent(new CustomEvent('jump'))
}

data('jump', () => ({
  text: '',
  chosen: 0,
  presets: [],
  init() {
    document.addEventListener('jump', () => this.open())
  },
  async open() {
    this.text = ''
    this.chosen = 0
    this.$el.querySelector('input').focus()
    const { presets } = await call('GET', '/api/presets/').catch(() => ({ presets: [] }))
    this.presets = presets.map(({ id, name, state }) => ({
      text: name, href: `/presets/${encodeURIComponent(id)}`, note: state === 'installed' ? 'installed preset' : 'preset', words: id.toLowerCase(),
    }))
  },
  get matches() {
    const wanted = this.text.trim().toLowerCase()
    return [...PAGES, ...this.presets]
      .filter(({ text, words = '' }) => text.toLowerCase().includes(wanted) || words.includes(wanted))
      .slice(0, SHOWN)
      .map((item, index) => ({ ...item, id: `jump-${index}` }))
  },
  get active() { return this.matches.length ? `jump-${this.chosen}` : null },
  isChosen(index) { return index === this.chosen },
  search(event) {
    this.text = event.target.value
    this.chosen = 0
  },
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    this.chosen = (this.chosen + step + this.matches.length) % (this.matches.length || 1)
  },
  pick(event) {
    this.chosen = Number(event.currentTarget.dataset.index)
    document.getElementById('jump').close()
    this.go()
  },
  go() {
    const item = this.matches[this.chosen]
    if (item) visit(item.href)
  },
}))
