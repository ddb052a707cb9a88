// Keys: / searches, g and a letter goes to a page, Ctrl K jumps, Esc closes the detail sheet.

import { openJump } from './jump.js'
import { visit } from './refresh.js'

const SEQUENCE_MS = 1000
const PAGES = { h: '/', p: '/presets', m: '/models', w: '/workflows', o: '/outputs', s: '/settings' }
let pressedG = 0

const typing = (element) => element.matches('input:not([type="checkbox"]), textarea, select, dialog *')

document.addEventListener('keydown', (event) => {
  const { key, target } = event
  if (!document.getElementById('shell')) return
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === 'k') {
    event.preventDefault()
    if (!document.querySelector('dialog[open]')) openJump()
    return
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return
  if (key === 'Escape') return escape(target)
  if (typing(target)) return
  if (key === '/') return search(event)
  if (event.timeStamp - pressedG < SEQUENCE_MS && PAGES[key]) visit(PAGES[key])
  pressedG = key === 'g' ? event.timeStamp : -SEQUENCE_MS
})

function search(event) {
  const field = document.querySelector('[data-search]')
  if (!field) return
  event.preventDefault()
  field.focus()
}

function escape(target) {
  if (typing(target)) target.blur()
  else document.getElementById('detail-close')?.click()
}
