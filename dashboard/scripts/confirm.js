// Questions before something is done: says what goes, asks for a word where others would miss it too, for a name, or
// which of several ways to go.

import { store } from './alpine.js'

const NO_QUESTION = { title: '', text: '', items: [], label: '', look: 'btn-bad', word: '', field: '', typed: '', others: [] }

store('confirm', {
  ...NO_QUESTION,
  get asks() { return Boolean(this.word || this.field) },
  get blocked() { return this.word ? this.typed.trim().toLowerCase() !== this.word : Boolean(this.field && !this.typed.trim()) },
  type(event) { this.typed = event.target.value },
  submit(event) {
    if (this.blocked) event.preventDefault()
    else dialog().returnValue = 'yes'
  },
  choose(other) { dialog().close(other.value) },
  cancel() { dialog().close() },
})

const dialog = () => document.getElementById('confirm')

/** Asks, and resolves to "yes", the `value` of one of `others` ({label, value}), or "". */
export function chosen(question) {
  const element = dialog()
  Object.assign(store('confirm'), NO_QUESTION, question)
  element.returnValue = ''
  element.showModal()
  return new Promise((resolve) => {
    element.addEventListener('close', () => resolve(element.returnValue), { once: true })
  })
}

/** Asks, and resolves to whether the answer was yes. `items` are {name, note}; `word` must be typed when given. */
export const confirmed = async (question) => (await chosen(question)) === 'yes'

/** Asks for a text, called `field`, that is `typed` at first; "" when there is none. */
export async function asked(question) {
  return (await confirmed({ look: 'btn-primary', ...question })) ? store('confirm').typed.trim() : ''
}
