// What the socket told: downloads by preset, runs by prompt, the machine, and the state of the link itself.

import { applyAdoption } from './adoption.js'
import { store } from './alpine.js'
import { refresh, signIn, visit } from './refresh.js'
import { Socket } from './socket.js'
import { durationText } from './formats.js'
import { toast } from './toasts.js'

const HISTORY = 60 // points of a sparkline: two minutes
const QUIET_MS = 2000 // a loss shorter than this is not worth a word
const BANNER_MS = 5000
const ACTIVE = ['queued', 'downloading', 'verifying']
const PENDING = [...ACTIVE, 'paused', 'failed', 'cancelled'] // what the list of downloads holds

store('link', { state: 'connecting', label: 'Connecting', banner: false, text: '' })
store('downloads', { byId: {} })
store('runs', { byId: {}, running: 0, pending: 0 })
store('system', { status: null, history: { gpu: [], memory: [], received: [], sent: [] } })

const link = store('link')
const downloads = store('downloads')
const runs = store('runs')
const system = store('system')

let lostAt = 0
let ticker = 0

const socket = new Socket({
  open() {
    const again = lostAt > 0
    clearInterval(ticker)
    lostAt = ticker = 0
    setLink('live', 'Live')
    link.banner = false
    if (again) refresh('*')
  },
  lost() {
    lostAt ||= Date.now()
    ticker ||= setInterval(showLoss, 500)
  },
  signedOut: signIn,
  message(type, data) {
    handlers[type]?.(data)
  },
})

/** Subscribes to the channels of the page that is shown. */
export function listen() {
  const shell = document.getElementById('shell')
  if (!shell) return
  socket.watch(shell.dataset.channels.split(' '))
  if (!lostAt) socket.connect()
}

export const reconnect = () => socket.connect()

function setLink(state, label) {
  link.state = state
  link.label = label
  document.documentElement.dataset.link = state
}

function showLoss() {
  const now = Date.now()
  if (now - lostAt > QUIET_MS) setLink('lost', 'Reconnecting')
  link.banner = now - lostAt > BANNER_MS
  const age = socket.lastMessageAt ? `Last update ${durationText((now - socket.lastMessageAt) / 1000)} ago; downloads` : 'Downloads'
  const next = socket.retryAt > now ? `Next try in ${durationText(Math.ceil((socket.retryAt - now) / 1000))}.` : 'Trying now.'
  link.text = `${age} continue on the server. ${next}`
}

const handlers = {
  snapshot(data) {
    if (data.channel === 'downloads') allDownloads(data.downloads)
    else if (data.channel === 'queue') queue([...data.running, ...data.recent], data)
    else if (data.channel === 'system') system_status(data.status)
    else tellOutputs(data) // what appeared since the page was rendered
  },
  adoption_progress: applyAdoption,
  download_progress: applyDownload,
  downloads_schedule: () => refresh('downloads'),
  queue_status: (data) => queue(data.running, data),
  run_progress: (run) => { runs.byId[run.prompt_id] = run },
  run_finished(run) {
    runs.byId[run.prompt_id] = run
    refresh('queue')
  },
  system_status,
  outputs_changed,
  error: ({ message }) => console.warn(message),
}

function allDownloads(list) {
  const known = new Set(list.map((install) => install.preset_id))
  for (const { dataset: { preset, state } } of document.querySelectorAll('[data-preset]')) {
    if (ACTIVE.includes(state) && !known.has(preset)) refreshPreset(preset)
  }
  for (const id of Object.keys(downloads.byId)) if (!known.has(id)) delete downloads.byId[id]
  list.forEach(applyDownload)
}

/** Takes in an InstallStatus, from the socket or from the answer to an action. */
export function applyDownload(install) {
  const { preset_id: id, state } = install
  const before = downloads.byId[id]
  downloads.byId[id] = install
  if (before?.state !== state) downloadChanged(install, before)
  else if (fileStates(before) !== fileStates(install) && document.querySelector(`[data-selected="${CSS.escape(id)}"]`)) refresh('downloads')
}

const fileStates = (install) => install.files.map((file) => file.state + (file.error ?? '')).join()

function downloadChanged({ preset_id: id, name, state, error }, before) {
  const shown = [...document.querySelectorAll('[data-preset]')].filter((element) => element.dataset.preset === id)
  const unlisted = PENDING.includes(state) && !shown.length && document.querySelector('[data-lists]')
  if (unlisted || shown.some((element) => element.dataset.state !== state)) refreshPreset(id)
  if (!before || !ACTIVE.includes(before.state)) return
  if (state === 'installed') {
    refresh('presets', 'models') // its files may complete other presets
    toast(`${name} is installed.`, { tone: 'ok', label: 'Open', action: () => visit(`/presets/${encodeURIComponent(id)}`) })
  } else if (error && (state === 'failed' || state === 'paused')) toast(`${name}: ${error}`, { tone: 'bad' })
}

/** Fetches what shows this preset again: its own card, not the list of hundreds. */
export function refreshPreset(id) {
  const card = /^[\w-]+$/.test(id) ? `#card-${id}` : 'presets' // htmx splits its selectors at commas and colons
  refresh('downloads', card)
}

let queueShape = null

function queue(list, { running, pending }) {
  for (const run of list) runs.byId[run.prompt_id] = run
  runs.running = running.length
  runs.pending = pending.length
  const shape = sorted(`${ids(running)}|${ids(pending)}`)
  const region = document.querySelector('[data-shape][data-live~="queue"]')
  const before = queueShape ?? (region && sorted(region.dataset.shape))
  if (before !== shape) refresh('queue')
  queueShape = shape
}

const ids = (list) => list.map((item) => item.prompt_id).join(' ')
const sorted = (shape) => shape.split('|').slice(0, 2).map((part) => part.split(' ').sort().join(' ')).join('|')

const tellOutputs = (data) => document.dispatchEvent(new CustomEvent('suite:outputs', { detail: data }))

function outputs_changed(data) {
  refresh('outputs')
  tellOutputs(data)
}

let askedFor = ''

function system_status(status) {
  const before = system.status?.comfyui.state
  system.status = status
  const { comfyui, gpus, memory, network, processes, workspace } = status
  const push = (list, value) => [...list.slice(1 - HISTORY), value ?? 0]
  const { history } = system
  system.history = {
    gpu: push(history.gpu, gpus[0]?.utilization_percent),
    memory: push(history.memory, memory.used_bytes),
    received: push(history.received, network.received_bytes_per_second),
    sent: push(history.sent, network.sent_bytes_per_second),
  }
  if (before && before !== 'ready' && comfyui.state === 'ready') toast('ComfyUI is ready.', { tone: 'ok' })
  if (before && before !== comfyui.state) refresh('presets', 'downloads') // their Run buttons
  if (comfyui.state === 'starting') refresh('boot')
  const shape = [comfyui.state, workspace.state, ...processes.map((process) => process.state)].join(' ')
  const shown = document.getElementById('top-status')?.dataset.shape
  // Asked for once per change: a page that keeps disagreeing must not be fetched every two seconds.
  if (shown !== shape && askedFor !== shape) refresh('system', 'boot')
  askedFor = shape
}
