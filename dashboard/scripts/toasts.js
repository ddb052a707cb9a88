// Short messages in the corner; one with an action stays long enough to be reached.

import { store } from './alpine.js'

const SHOWN_MS = 5000
const SHOWN_WITH_ACTION_MS = 12_000
let lastId = 0

store('toasts', {
  list: [],
  close({ id }) {
    this.list = this.list.filter((toast) => toast.id !== id)
  },
  act(toast) {
    this.close(toast)
    toast.action()
  },
})

/** Shows `text`; `label` and `action` add a button, `tone` is "ok" or "bad". */
export function toast(text, { tone = '', label = '', action = null } = {}) {
  lastId += 1
  const id = lastId
  const toasts = store('toasts')
  toasts.list = [...toasts.list.slice(-3), { id, text, tone, label, action }]
  setTimeout(() => toasts.close({ id }), label || tone === 'bad' ? SHOWN_WITH_ACTION_MS : SHOWN_MS)
}
