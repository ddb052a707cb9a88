// Each page has a module of its own, which is there before the page is: a component must be known when its element
// comes to life. Once loaded it stays, so that what it does, such as sending a file, goes on while others are shown.

import { toast } from './toasts.js'

const ME = new URL(import.meta.url).pathname
const NAMED = /data-module="([^"]+)"/
const STYLED = /data-style="([^"]+)"/

const reload = (path) => ({ tone: 'bad', label: 'Reload', action: () => location.assign(path) })

/** Calls `start` when the module of the page that is shown was loaded, or could not be. */
export async function begin(start) {
  const module = document.querySelector('[data-module]')?.dataset.module
  const failed = module && await import(module).then(() => false, () => true)
  start()
  if (failed) toast('A part of this page did not load.', reload(location.href))
}

document.addEventListener('htmx:before:request', ({ detail: { ctx } }) => {
  if (ctx.selectOOB) return // the same page again
  const send = ctx.fetch
  ctx.fetch = async (...request) => {
    const response = await send(...request)
    await prepare(await response.clone().text(), ctx)
    return response
  }
})

async function prepare(text, { request: { action } }) {
  const [, module] = NAMED.exec(text) ?? []
  if (!module) return
  // A newer dashboard's page: two of these scripts cannot share one document.
  if (!text.includes(ME)) {
    location.assign(action)
    await new Promise(() => {})
  }
  try {
    await Promise.all([import(module), dressed(STYLED.exec(text)?.[1])])
  } catch (error) {
    toast('The page did not load. Check the connection and try again.', reload(action))
    throw error
  }
}

/** Resolves when the stylesheet at `href` is there, or cannot be had. */
const dressed = (href) => new Promise((resolve) => {
  if (!href || document.querySelector(`link[href="${href}"]`)) return resolve()
  document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href, onload: resolve, onerror: resolve }))
})
