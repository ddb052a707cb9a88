// The form of what a workflow is most often asked for: prompts, seed, sizes, pictures. Only what was changed is sent.

import { data, store } from './alpine.js'
import { api, attempt, call, sentence } from './api.js'
import { isWhole, refused } from './check.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

const RETRY_MS = 3000
const COUNT_MAX = 100
const SEED_TOP = 2 ** 48 // what every node takes
const FILES = { image: 'image/*', video: 'video/*', audio: 'audio/*' }

const check = store('check')
const form = store('form')

data('form', () => ({
  name: '',
  title: '',
  state: 'asking',
  message: '',
  get fields() { return form.fields },
  random: true,
  count: 1,
  timer: 0,
  stale: null,
  init() {
    form.fields = []
    Object.assign(this, { name: this.$el.dataset.name, title: this.$el.dataset.title })
    this.stale = ({ detail: topics }) => { if (topics.has('workflows') || topics.has('*')) this.load() }
    document.addEventListener('suite:stale', this.stale)
    this.load()
  },
  destroy() {
    clearTimeout(this.timer)
    document.removeEventListener('suite:stale', this.stale)
  },
  async load() {
    clearTimeout(this.timer)
    try {
      const { inputs } = await call('GET', api`/api/workflows/${this.name}/inputs`)
      const before = Object.fromEntries(this.fields.map((each) => [each.key, each]))
      form.fields = inputs.map((input) => field(input, noteOf(input, inputs), before[input.key]))
      this.state = 'known'
    } catch (error) {
      const waits = !error.status || error.status >= 500
      Object.assign(this, { state: waits ? 'waiting' : 'failed', message: error.message })
      clearTimeout(this.timer) // of another that was under way
      if (waits && this.$el.isConnected) this.timer = setTimeout(() => this.load(), RETRY_MS)
    }
  },
  get asking() { return this.state === 'asking' },
  get trouble() { return this.state === 'failed' && !check.report?.unconverted.length ? sentence(this.message) : '' },
  get bare() { return this.state === 'known' && !this.fields.length },
  get hasSeed() { return this.fields.some(({ kind }) => kind === 'seed') },
  get seedOff() { return this.random },
  setRandom(event) { this.random = event.target.checked },
  setCount(event) { this.count = Math.min(Math.max(Math.floor(Number(event.target.value)) || 1, 1), COUNT_MAX) },
  get reason() {
    if (check.state === 'waiting') return 'ComfyUI is not ready.'
    if (check.state === 'known' && !isWhole(check.report)) return check.report.unconverted.length ? 'It cannot run as it is: see the check.' : 'What is missing has to come first.'
    return ''
  },
  get blocked() { return Boolean(this.reason) || this.state !== 'known' },
  get runLabel() { return this.count > 1 ? `Run ${this.count}` : 'Run' },
  submit(event) {
    event.preventDefault()
    if (this.blocked) return undefined
    // Steps are a help for the arrows: ComfyUI takes what lies between.
    const wrong = [...event.target.elements].find(({ validity }) => validity && !validity.valid && !validity.stepMismatch)
    if (wrong) return wrong.reportValidity()
    return attempt(event.submitter, async () => {
      const answer = await call('POST', '/api/comfyui/execute', this.body()).catch((error) => {
        if (error.status !== 422) throw error
        refused(error)
        if (!error.details.missing_models && !error.details.node_errors) throw error
        document.getElementById('check').scrollIntoView({ block: 'nearest' })
      })
      for (const warning of answer?.warnings ?? []) toast(`${sentence(warning)}.`)
      if (answer) check.complaints = []
      refresh('queue')
    })
  },
  body() {
    const seeds = this.fields.filter(({ kind }) => kind === 'seed')
    const changed = this.fields.filter((each) => each.current !== each.value && !(this.random && each.kind === 'seed'))
    const body = { workflow: this.name, inputs: Object.fromEntries(changed.map((each) => [each.key, each.current])), count: this.count }
    if (seeds.length && this.random) body.seed = 'random'
    else if (this.count > 1 && Number.isSafeInteger(seeds[0]?.current)) body.seed = seeds[0].current
    return body
  },
}))

/** Tells the node of a field from others of the same name. */
function noteOf({ node_id: id, title, label }, inputs) {
  const others = inputs.filter((other) => other.node_id !== id && other.label === label)
  if (!others.length || title === label) return ''
  return others.every((other) => other.title !== title) ? title : `${title} ${id}`
}

const field = (input, note, before) => ({
  ...input,
  id: `input-${input.key.replace(/\W/g, '-')}`,
  current: before && before.current !== before.value ? before.current : input.value,
  preview: before?.preview ?? null,
  note,
  get isLong() { return this.kind === 'text' && this.multiline },
  get isLine() { return this.kind === 'text' && !this.multiline },
  get isSeed() { return this.kind === 'seed' },
  // A larger one than JavaScript counts to is kept as it is, and cannot be shown.
  get seed() { return Number.isSafeInteger(this.current) ? this.current : '' },
  get seedHint() { return this.seed === '' ? 'As saved' : '' },
  get isNumber() { return this.kind === 'integer' || this.kind === 'number' },
  get isChoice() { return this.kind === 'choice' },
  get isBoolean() { return this.kind === 'boolean' },
  get isFile() { return this.kind in FILES },
  get accept() { return FILES[this.kind] },
  get stepping() { return this.step ?? (this.kind === 'integer' ? 1 : 'any') },
  get options() {
    const values = this.choices?.includes(this.current) ? this.choices : [this.current, ...(this.choices ?? [])]
    return values.filter((value) => value !== null && value !== '').map((value) => ({ value, text: String(value), on: value === this.current }))
  },
  write(event) { this.current = event.target.value },
  count(event) { if (event.target.value !== '') this.current = Number(event.target.value) },
  tick(event) { this.current = event.target.checked },
  select(event) { this.current = this.options[event.target.selectedIndex].value },
  roll() { this.current = Math.floor(Math.random() * SEED_TOP) },
  async send({ target: input }) {
    const [file] = input.files
    input.value = ''
    if (!file) return
    await attempt(null, async () => {
      const { name } = await call('POST', api`/api/inputs/?name=${file.name}`, file)
      if (!this.choices?.includes(name)) this.choices = [name, ...(this.choices ?? [])]
      this.current = name
      if (this.preview) URL.revokeObjectURL(this.preview)
      this.preview = this.kind === 'image' ? URL.createObjectURL(file) : null
    })
  },
})
