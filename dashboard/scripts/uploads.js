// Sends files from this machine: in chunks, a few at a time, taken up again after whatever came between. The list is a
// store, so that sending goes on while other pages are shown.

import { store } from './alpine.js'
import { api, attempt, call } from './api.js'
import { bytesText, durationText, speedText } from './formats.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

const AT_ONCE = 3
const FEW = 8 // chunks of a small file are sent one by one: what is complete outlives a reload
const FIRST_RETRY_MS = 1000
const LAST_RETRY_MS = 30_000
const REFUSALS = 3 // of one chunk: what was damaged on its way comes right the next time
const POLL_MS = 1000

const requests = new Map() // an item's, by chunk
let lastId = 0
let working = false

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const isOver = ({ state }) => state === 'done' || state === 'ready'

store('uploads', {
  folders: [],
  folder: '',
  items: [],
  begun: [],
  discard({ currentTarget: button }) {
    return attempt(button, async () => {
      await call('DELETE', api`/api/uploads/${button.dataset.id}`)
      this.begun = this.begun.filter(({ id }) => id !== button.dataset.id)
    })
  },
  get empty() { return !this.items.some(({ state }) => state === 'ready') },
  open() {
    document.getElementById('upload').showModal()
    return attempt(null, async () => {
      const { folders, uploads: begun } = await call('GET', '/api/uploads/')
      this.folders = folders
      this.begun = begun.filter((upload) => upload.state === 'receiving' && !this.items.some((item) => item.upload?.id === upload.id))
        .map(({ id, name, bytes_done: done, size_bytes: size }) => ({ id, name, text: `${bytesText(done)} of ${bytesText(size)} came: choose it again to go on` }))
      this.folder ||= this.folders[0]
    })
  },
  close() { document.getElementById('upload').close() },
  setFolder(event) { this.folder = event.target.value },
  choose(event) {
    for (const file of event.target.files) this.items.push(newItem(file))
    event.target.value = ''
  },
  start() {
    for (const item of this.items.filter(({ state }) => state === 'ready')) Object.assign(item, { folder: this.folder, state: 'queued' })
    work()
  },
})

const uploads = store('uploads')

const newItem = (file) => ({
  id: ++lastId,
  file,
  name: file.name,
  folder: '',
  state: 'ready',
  upload: null,
  inFlight: {},
  begun: { at: 0, sent: 0 },
  error: '',
  get ready() { return this.state === 'ready' },
  get steerable() { return !isOver(this) && this.state !== 'checking' },
  get label() { return this.state === 'queued' || this.state === 'sending' ? 'Pause' : this.state === 'paused' ? 'Resume' : 'Retry' },
  get sent() { return Object.values(this.inFlight).reduce((sum, bytes) => sum + bytes, this.upload?.bytes_done ?? 0) },
  get part() { return (this.state === 'checking' ? this.upload.bytes_checked : this.sent) / (this.file.size || 1) },
  get text() {
    if (this.state === 'sending') return sendingText(this)
    if (this.state === 'ready') return bytesText(this.file.size)
    return this.error || { queued: 'waits', checking: 'checking', paused: 'paused', done: `in ${this.folder}` }[this.state]
  },
  rename(event) { this.name = event.target.value },
  toggle() {
    if (this.label === 'Pause') stop(this, 'paused')
    else this.state = 'queued'
    work()
  },
  cancel({ currentTarget: button }) {
    stop(this, 'cancelled')
    return attempt(button, async () => {
      if (this.upload && !isOver(this)) await call('DELETE', api`/api/uploads/${this.upload.id}`)
      uploads.items = uploads.items.filter(({ id }) => id !== this.id)
    })
  },
})

function sendingText({ file, sent, begun }) {
  const speed = ((sent - begun.sent) * 1000) / (Date.now() - begun.at)
  const rest = speed > 0 ? ` · ${speedText(speed)} · ${durationText((file.size - sent) / speed)} left` : ''
  return `${bytesText(sent)} / ${bytesText(file.size)}${rest}`
}

function stop(item, state) {
  item.state = state
  for (const request of requests.get(item.id)?.values() ?? []) request.abort()
}

async function work() {
  if (working) return
  working = true
  for (let item; (item = uploads.items.find(({ state }) => state === 'queued'));) await send(item)
  working = false
}

async function send(item) {
  Object.assign(item, { state: 'sending', error: '' })
  const { folder, name, file } = item
  try {
    if (!file.size) throw new Error('the file is empty')
    // Who changed the file since begins anew.
    const wish = { folder, name, size_bytes: file.size, version: String(file.lastModified) }
    item.upload = await persist(item, () => call('POST', '/api/uploads/', wish))
    if (!item.upload) return
    item.begun = { at: Date.now(), sent: item.sent }
    const missing = missingOf(item.upload)
    await Promise.all(Array.from({ length: item.upload.chunks > FEW ? AT_ONCE : 1 }, () => sendFrom(item, missing)))
    if (item.state !== 'sending') return
    item.upload = await persist(item, () => call('POST', api`/api/uploads/${item.upload.id}/complete`))
    await check(item)
  } catch (error) {
    if (item.state === 'sending' || item.state === 'checking') stop(item, 'failed')
    item.error = error.message
  }
}

const missingOf = ({ chunks, received }) => Array.from({ length: chunks }, (_, number) => number)
  .filter((number) => !received.some(([start, end]) => start <= number && number < end))

async function sendFrom(item, missing) {
  while (item.state === 'sending' && missing.length) {
    const number = missing.shift()
    const answer = await persist(item, () => put(item, number))
    // Answers may overtake one another: the one that knows most is the newest.
    if (answer && answer.bytes_done > item.upload.bytes_done) item.upload = answer
  }
}

/** Tries again, later and later, what did not arrive; undefined when the item was stopped. */
async function persist(item, task) {
  for (let tries = 0; item.state === 'sending' || item.state === 'checking'; tries += 1) {
    try {
      return await task()
    } catch (error) {
      const lost = error instanceof TypeError || error.status === 0 || (error.status >= 500 && error.status !== 507)
      const damaged = error.status === 422 && error.number !== undefined && tries < REFUSALS
      if (!lost && !damaged) throw error
    }
    await wait(Math.min(FIRST_RETRY_MS * 2 ** tries, LAST_RETRY_MS))
  }
  return undefined
}

async function put(item, number) {
  const { id, chunk_bytes: size } = item.upload
  const chunk = item.file.slice(number * size, (number + 1) * size)
  const digest = await digestOf(chunk)
  const mine = requests.get(item.id) ?? requests.set(item.id, new Map()).get(item.id)
  try {
    return await new Promise((resolve, reject) => {
      const request = new XMLHttpRequest() // fetch does not say how much was sent
      mine.set(number, request)
      request.open('PUT', api`/api/uploads/${id}/chunks/${number}`)
      request.setRequestHeader('Content-Type', 'application/octet-stream')
      if (digest) request.setRequestHeader('Content-Digest', `sha-256=:${digest}:`)
      request.upload.onprogress = ({ loaded }) => { item.inFlight[number] = loaded }
      request.onloadend = () => {
        const { status, responseText } = request
        if (status === 200) return resolve(JSON.parse(responseText))
        return reject(Object.assign(new Error(messageOf(responseText)), { status, number }))
      }
      request.send(chunk)
    })
  } finally {
    mine.delete(number)
    delete item.inFlight[number]
  }
}

const messageOf = (text) => {
  try { return JSON.parse(text).error.message } catch { return 'The dashboard could not be reached.' }
}

/** Base64 of the chunk's sha256; browsers compute it over https and on localhost only. */
async function digestOf(chunk) {
  if (!crypto.subtle) return ''
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', await chunk.arrayBuffer()))
  return btoa(String.fromCharCode(...bytes))
}

async function check(item) {
  item.state = 'checking'
  while (item.upload?.state === 'checking') {
    await wait(POLL_MS)
    item.upload = await persist(item, () => look(item.upload))
  }
  if (!item.upload) return
  if (item.upload.state !== 'done') throw new Error(item.upload.error)
  item.state = 'done'
  toast(`${item.name} is in ${item.folder}.`, { tone: 'ok' })
  refresh('models', 'presets', 'downloads')
}

/** How the check goes; a dashboard that was started anew no longer knows of what is done. */
const look = (upload) => call('GET', api`/api/uploads/${upload.id}`).catch((error) => {
  if (error.status !== 404) throw error
  return { ...upload, state: 'done' }
})

addEventListener('beforeunload', (event) => {
  if (uploads.items.some(({ state }) => state === 'queued' || state === 'sending')) event.preventDefault()
})
