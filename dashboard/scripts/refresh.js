// Fetches the page again and morphs the regions that a change concerns; every region carries data-live with the
// topics it shows. Numbers do not come this way: the socket writes them in place.

import htmx from 'htmx.org/dist/htmx.esm.js'
import { toast } from './toasts.js'

const DELAY_MS = 150 // changes come in bursts: one request for all of them
const wanted = new Set()
let timer = 0

const here = () => location.pathname + location.search

/** Fetches the regions of `topics` again; "*" means all of them, "#id" that element. What fetches for itself hears
 * "suite:stale" with the topics. */
export function refresh(...topics) {
  for (const topic of topics) wanted.add(topic)
  timer ||= setTimeout(fetchRegions, DELAY_MS)
}

async function fetchRegions() {
  const region = (topic) => (topic[0] === '#' ? topic : `[data-live~="${topic}"]`)
  document.dispatchEvent(new CustomEvent('suite:stale', { detail: new Set(wanted) }))
  const selector = wanted.has('*') ? '[data-live]' : [...wanted].map(region).join()
  wanted.clear()
  const regions = [...document.querySelectorAll(selector)].map(({ id }) => `#${id}:outerMorph`)
  try {
    if (regions.length) await htmx.ajax('GET', here(), { swap: 'none', selectOOB: regions.join() })
  } finally {
    // Not before the answer: htmx drops what is asked for while another request waits.
    timer = 0
    if (wanted.size) refresh()
  }
}

/** Goes to another page without losing the socket; a later visit replaces one that is under way. */
export function visit(path) {
  htmx.ajax('GET', path, { source: '#shell', target: '#shell', select: '#shell', swap: 'outerHTML show:top', push: 'true' })
}

/** Shows the preset at `path` beside the list that is on the page. */
export function visitDetail(path) {
  htmx.ajax('GET', path, { source: '#shell', target: '#detail', select: '#detail', swap: 'outerHTML', push: 'true' })
}

/** Signs in again and comes back to this page. */
export function signIn() {
  location.assign(`/login?next=${here()}`)
}

document.addEventListener('htmx:before:swap', (event) => {
  const { ctx } = event.detail
  const background = Boolean(ctx.selectOOB)
  const { status, redirected, url } = ctx.response.raw
  if (background && ctx.request.action !== here()) return event.preventDefault() // the user has gone elsewhere
  if (ctx.text.includes('id="shell"')) return undefined
  // Not a page of the dashboard: the sign-in page after a redirect, or nginx saying that the dashboard is away.
  event.preventDefault()
  if (redirected || status === 401) location.assign(redirected ? url : here())
  else if (!background) toast('The dashboard does not answer. Try again in a moment.', { tone: 'bad' })
  return undefined
})
