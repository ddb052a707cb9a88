// One JSON WebSocket to /ws: subscribes to the channels the page asks for and comes back after every loss but
// that of the session.

const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 15_000
const SILENCE_MS = 12_000 // system_status comes every 2 s: a socket this quiet is dead, whatever TCP says
const SESSION_LOST = 1008

export class Socket {
  channels = new Set()
  lastOpenAt = 0
  lastMessageAt = 0
  retryAt = 0
  #socket = null
  #attempt = 0
  #heard = false
  #timer = 0

  /** `on` takes open(), lost(), message(type, data) and signedOut(). */
  constructor(on) {
    this.on = on
    setInterval(() => this.#checkSilence(), 2000)
    addEventListener('online', () => this.connect())
    document.addEventListener('visibilitychange', () => document.hidden || this.connect())
  }

  /** Makes `names` the channels that are subscribed to. */
  watch(names) {
    const wanted = new Set(names)
    this.#send('unsubscribe', [...this.channels].filter((name) => !wanted.has(name)))
    this.#send('subscribe', [...wanted].filter((name) => !this.channels.has(name)))
    this.channels = wanted
  }

  /** Connects now unless connected, connecting or without anything to listen to. */
  connect() {
    if (this.#socket || !this.channels.size) return
    clearTimeout(this.#timer)
    this.retryAt = 0
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws`)
    this.#socket = socket
    socket.onopen = () => this.#opened()
    socket.onmessage = (event) => this.#received(event)
    socket.onclose = (event) => this.#closed(event)
  }

  #opened() {
    this.#heard = false
    this.lastOpenAt = Date.now()
    this.#send('subscribe', [...this.channels])
  }

  #received(event) {
    this.lastMessageAt = Date.now()
    if (!this.#heard) {
      // Only now: a dashboard that is going down may accept a socket and close it at once.
      this.#heard = true
      this.#attempt = 0
      this.on.open()
    }
    const { type, data } = JSON.parse(event.data)
    this.on.message(type, data)
  }

  #closed(event) {
    this.#socket = null
    if (event.code === SESSION_LOST) return this.on.signedOut()
    const backoff = Math.min(FIRST_RETRY_MS * 2 ** this.#attempt, LAST_RETRY_MS)
    const wait = backoff * (0.5 + Math.random() / 2) // jitter: a restarted dashboard must not get every tab at once
    this.#attempt += 1
    this.retryAt = Date.now() + wait
    this.#timer = setTimeout(() => this.connect(), wait)
    return this.on.lost()
  }

  #send(type, channels) {
    if (channels.length && this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ type, channels }))
    }
  }

  #checkSilence() {
    const open = this.#socket?.readyState === WebSocket.OPEN
    if (!open || !this.channels.has('system') || Date.now() - Math.max(this.lastMessageAt, this.lastOpenAt) < SILENCE_MS) return
    // close() waits for the other side's answer, which is what does not come: report the loss at once.
    const socket = this.#socket
    socket.onclose = socket.onmessage = null
    socket.close()
    this.#closed({ code: 0 })
  }
}
