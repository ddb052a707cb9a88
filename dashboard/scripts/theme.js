// The colour theme: kept in a cookie so that the server renders the page in it.

import { store } from './alpine.js'

const YEAR_SECONDS = 31_536_000
const THEMES = ['system', 'light', 'dark']

store('theme', {
  name: document.documentElement.dataset.theme,
  is(button) { return button.dataset.value === this.name },
  get title() { return `Theme: ${this.name}` },
})

export function setTheme(name) {
  store('theme').name = name
  document.documentElement.dataset.theme = name
  document.cookie = `theme=${name}; Max-Age=${YEAR_SECONDS}; Path=/; SameSite=Lax`
}

export function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(store('theme').name) + 1) % THEMES.length])
}
