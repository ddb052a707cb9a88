// The gallery: pages of it as one scrolls, new files at its front, and what is ticked. It may hold ten thousand cells,
// so one listener serves them all, only what is seen loads its picture, and cells lie in groups of whole rows, of which
// a browser lays out those in sight: with a hundred groups it scrolls, with ten thousand cells to watch it does not.

import { data } from './alpine.js'
import { bytesText } from './formats.js'
import { openPicture } from './picture.js'
import { removeOutputs } from './removal.js'

const AT_TOP = 120
const DELAY_MS = 400 // a batch of pictures comes in a burst
const RETRY_MS = 3000
const GROUP = 96 // cells, about
const GAP = 8

data('outputs', () => ({
  number: 0,
  bytes: 0,
  selecting: false,
  filled: true,
  fresh: [],
  root: null,
  last: null,
  busy: false,
  timer: 0,
  watcher: null,
  sizes: null,
  arrived: null,
  init() {
    this.root = this.$el
    this.watcher = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: '600px' })
    this.arrived = ({ detail }) => { if (this.isNews(detail)) this.lookSoon() }
    document.addEventListener('suite:outputs', this.arrived)
    this.watch(this.root)
    this.sizes = new ResizeObserver(() => this.arrange())
    this.sizes.observe(this.root.querySelector('#columns'))
    this.watcher.observe(this.root.querySelector('#more'))
    this.select()
  },
  destroy() {
    clearTimeout(this.timer)
    this.watcher.disconnect()
    this.sizes.disconnect()
    document.removeEventListener('suite:outputs', this.arrived)
  },
  get gallery() { return this.root.querySelector('#gallery') },
  /** Makes each group one of whole rows again, after cells came or went or the columns changed. */
  arrange() {
    const columns = getComputedStyle(this.root.querySelector('#columns')).gridTemplateColumns.split(' ')
    const size = columns.length * Math.ceil(GROUP / columns.length)
    const height = Math.ceil(size / columns.length) * (parseFloat(columns[0]) + GAP)
    for (let group = this.gallery.firstElementChild; group; group = group.nextElementSibling) {
      group.style.containIntrinsicSize = `auto ${height}px`
      const excess = group.children.length - size
      if (excess > 0) {
        if (!group.nextElementSibling) group.after(group.cloneNode(false))
        group.nextElementSibling.prepend(...[...group.children].slice(size))
      }
      while (group.children.length < size && group.nextElementSibling) {
        const next = group.nextElementSibling
        group.append(...[...next.children].slice(0, size - group.children.length))
        if (!next.children.length) next.remove()
      }
    }
    this.select()
  },
  cells() { return [...this.root.querySelectorAll('.shot')] },
  ticked() { return this.cells().filter((cell) => cell.querySelector('.check').checked) },
  watch(within) { for (const video of within.querySelectorAll('video[data-src]')) this.watcher.observe(video) },
  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue
      if (target.id === 'more') this.more()
      else {
        target.src = target.dataset.src
        this.watcher.unobserve(target)
      }
    }
  },
  /** The cells of the page that begins at `offset` and are not shown yet. */
  async fetchCells(offset) {
    const query = new URLSearchParams(location.search)
    query.set('offset', offset)
    const response = await fetch(`/outputs?${query}`)
    const page = new DOMParser().parseFromString(await response.text(), 'text/html')
    const total = page.getElementById('outputs-total')
    if (!response.ok || !total) throw new Error('no gallery')
    document.getElementById('outputs-total').textContent = total.textContent
    this.root.dataset.total = page.querySelector('[data-total]').dataset.total
    const known = new Set(this.cells().map(({ dataset }) => dataset.path))
    const found = [...page.querySelectorAll('.shot')]
    const more = page.getElementById('more')
    return { cells: found.filter(({ dataset }) => !known.has(dataset.path)), found, hasMore: !more.hidden }
  },
  async more() {
    const end = this.root.querySelector('#more')
    if (!this.root.isConnected || this.busy || end.hidden) return
    this.busy = true
    try {
      const { cells, hasMore } = await this.fetchCells(this.cells().length + this.fresh.length)
      this.gallery.lastElementChild.append(...cells)
      cells.forEach((cell) => this.watch(cell))
      this.arrange()
      end.hidden = !hasMore || !cells.length
      // Still in sight after a short page: being there is no news to the watcher.
      this.watcher.unobserve(end)
      this.watcher.observe(end)
    } catch {
      setTimeout(() => this.more(), RETRY_MS)
    } finally {
      this.busy = false
    }
  },
  isNews({ newest, total }) {
    const known = new Set(this.cells().map(({ dataset }) => dataset.path))
    return total !== Number(this.root.dataset.total) || newest.some(({ path }) => !known.has(path))
  },
  lookSoon() { this.timer ||= setTimeout(() => this.look(), DELAY_MS) },
  async look() {
    this.timer = 0
    if (!this.root.isConnected || this.root.dataset.order !== 'newest') return
    try {
      const { cells, found } = await this.fetchCells(0)
      this.dropGone(found)
      this.fresh = cells
      if (scrollY < AT_TOP) this.show()
    } catch {
      this.lookSoon() // the dashboard is away for a moment
    }
  },
  /** Removes cells of files that are gone, as far as the newest page tells. */
  dropGone(found) {
    const there = new Set(found.map(({ dataset }) => dataset.path))
    const oldest = Math.min(...found.map(({ dataset }) => Number(dataset.modified)))
    for (const cell of this.cells()) {
      if (!there.has(cell.dataset.path) && (!found.length || Number(cell.dataset.modified) > oldest)) cell.remove()
    }
    this.arrange()
  },
  show() {
    this.gallery.firstElementChild.prepend(...this.fresh)
    this.fresh.forEach((cell) => this.watch(cell))
    this.fresh = []
    this.arrange()
  },
  get freshLabel() { return this.fresh.length ? `${this.fresh.length} new` : '' },
  showFresh() {
    this.show()
    scrollTo({ top: 0 })
  },
  filter(event) { event.target.form.requestSubmit() },
  click(event) {
    const cell = event.target.closest('.shot')
    const link = event.target.closest('a')
    if (!cell || (!link && !event.target.matches('.check'))) return
    if (event.target.matches('.check')) return this.tick(cell, event.shiftKey)
    if (event.ctrlKey || event.metaKey) return
    event.preventDefault()
    if (!this.selecting && !event.shiftKey) return openPicture(cell)
    const check = cell.querySelector('.check')
    check.checked = event.shiftKey || !check.checked
    this.tick(cell, event.shiftKey)
  },
  tick(cell, isRange) {
    const { checked } = cell.querySelector('.check')
    if (isRange && this.last?.isConnected) {
      const cells = this.cells()
      const [from, to] = [cells.indexOf(this.last), cells.indexOf(cell)].sort((a, b) => a - b)
      for (const each of cells.slice(from, to + 1)) each.querySelector('.check').checked = checked
    }
    this.last = cell
    this.select()
  },
  select() {
    this.filled = Boolean(this.root.querySelector('.shot'))
    const ticked = this.ticked()
    this.number = ticked.length
    this.bytes = ticked.reduce((sum, { dataset }) => sum + Number(dataset.size), 0)
    if (this.number) this.selecting = true
  },
  start() { this.selecting = true },
  selectAll() {
    for (const cell of this.cells()) cell.querySelector('.check').checked = true
    this.select()
  },
  clear() {
    for (const cell of this.ticked()) cell.querySelector('.check').checked = false
    this.select()
    this.selecting = false
  },
  get summary() { return this.number ? `${this.number} selected, ${bytesText(this.bytes)}` : 'Choose what to take' },
  get none() { return !this.number },
  zip() {
    const form = document.getElementById('zip')
    form.replaceChildren(...this.ticked().map(({ dataset }) => Object.assign(document.createElement('input'), { type: 'hidden', name: 'path', value: dataset.path })))
    form.submit()
  },
  async remove({ currentTarget: button }) {
    const cells = this.ticked()
    if (await removeOutputs(button, cells)) this.clear()
    this.arrange()
  },
}))
