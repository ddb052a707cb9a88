// The question before something is removed: says what goes, asks for a word where others would miss it too.

import { store } from './alpine.js'

const NO_QUESTION = { title: '', text: '', items: [], label: '', word: '', typed: '' }

store('confirm', {
  ...NO_QUESTION,
  get blocked() { return this.typed !== this.word },
  type(event) { this.typed = event.target.value.trim().toLowerCase() },
  submit(event) {
    if (this.blocked) event.preventDefault()
    else dialog().returnValue = 'yes'
  },
  cancel() { dialog().close() },
})

const dialog = () => document.getElementById('confirm')

/** Asks, and resolves to whether the answer was yes. `items` are {name, note}; `word` must be typed when given. */
export function confirmed(question) {
  const element = dialog()
  Object.assign(store('confirm'), NO_QUESTION, question)
  element.returnValue = ''
  element.showModal()
  return new Promise((resolve) => {
    element.addEventListener('close', () => resolve(element.returnValue === 'yes'), { once: true })
  })
}
