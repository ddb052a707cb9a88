// What every page has. A page's own module takes from here what it needs, so that each is there once.

import { start } from './alpine.js'
import { begin } from './modules.js'
import { listen } from './stores.js'
import './jump.js'
import './keyboard.js'
import './live.js'

export * from './alpine.js'
export * from './api.js'
export * from './confirm.js'
export * from './formats.js'
export * from './live.js'
export * from './refresh.js'
export * from './stores.js'
export * from './suite.js'
export * from './toasts.js'

begin(() => {
  start()
  listen()
})
document.addEventListener('htmx:after:swap', listen)
