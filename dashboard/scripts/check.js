// What a workflow lacks, and the one action that brings all that can be had. The check repeats itself whenever
// something came that it waits for.

import { openAddition } from './addition.js'
import { data, store } from './alpine.js'
import { api, attempt, call, sentence } from './api.js'
import { bytesText, percentText, shortName } from './formats.js'
import { refresh } from './refresh.js'
import { applyDownload } from './stores.js'
import { toast } from './toasts.js'

const RETRY_MS = 3000
const NAME_WIDTH = 44
const STALE = ['*', 'models', 'presets', 'system', 'workflows']
const MOVING = { queued: 'Queued', downloading: 'Downloading', verifying: 'Verifying', paused: 'Paused', installed: 'Installed', present: 'Installed' }

store('check', { state: 'asking', message: '', report: null, complaints: [] })

store('form', { fields: [] })

const check = store('check')
const form = store('form')
const downloads = store('downloads')

data('check', () => ({
  name: '',
  timer: 0,
  picked: {},
  stale: null,
  init() {
    this.name = this.$el.dataset.name
    Object.assign(check, { state: 'asking', message: '', report: null, complaints: [] })
    this.stale = ({ detail: topics }) => { if (STALE.some((topic) => topics.has(topic))) this.look() }
    document.addEventListener('suite:stale', this.stale)
    this.look()
  },
  destroy() {
    clearTimeout(this.timer)
    document.removeEventListener('suite:stale', this.stale)
  },
  async look() {
    clearTimeout(this.timer)
    try {
      const report = await call('GET', api`/api/workflows/${this.name}/check`)
      Object.assign(check, { state: 'known', message: '', report, complaints: [] })
    } catch (error) {
      const waits = !error.status || error.status >= 500
      Object.assign(check, { state: waits ? 'waiting' : 'failed', message: error.status ? error.message : 'The dashboard could not be reached.' })
      if (waits && this.$el.isConnected) this.timer = setTimeout(() => this.look(), RETRY_MS)
    }
  },
  get asking() { return check.state === 'asking' },
  get waiting() { return check.state === 'waiting' },
  get waitText() { return `${sentence(check.message).replace(/\.?$/, '.')} The check is made as soon as it can be.` },
  get failed() { return check.state === 'failed' },
  get ready() { return check.state === 'known' && !check.complaints.length && (check.report.can_run || this.isFilled) },
  /** All that was wrong were values, and the form has others for them. */
  get isFilled() { return check.report.wrong_values.length > 0 && !this.values.length && isWhole(check.report) },
  get label() {
    if (check.state !== 'known' || this.ready) return ''
    const missing = [counted(this.models, 'model'), counted(this.nodes, 'node class', 'node classes')].filter(Boolean).join(' and ')
    const wrong = counted(this.values.filter(({ refused: stops }) => stops !== false), 'wrong value')
    const problems = counted([...this.unconverted, ...this.complaints], 'problem')
    return [missing && `${missing} missing`, wrong, problems].filter(Boolean).join(', ')
  },
  get models() {
    const files = new Map()
    for (const model of check.report?.missing_models ?? []) {
      const key = `${model.folder}/${model.name}`
      files.set(key, [...(files.get(key) ?? []), model])
    }
    return [...files].map(([key, uses]) => row(key, uses, this.picked[key] ?? 0))
  },
  get nodes() {
    return byClass(check.report?.missing_nodes ?? []).map((node) => ({ ...node, packTitle: node.pack?.title ?? '', packUrl: node.pack?.url ?? null }))
  },
  get values() {
    return (check.report?.wrong_values ?? []).filter((wrong) => !isChanged(wrong)).map((wrong, key) => ({
      ...wrong, key, fieldId: `value-${key}`, label: placeOf(wrong), options: wrong.choices.map((choice, index) => ({ key: index, text: String(choice) })),
    }))
  },
  get unconverted() { return (check.report?.unconverted ?? []).map((node, key) => ({ ...node, key, where: placeOf(node) })) },
  get complaints() { return check.complaints },
  get plan() {
    const open = this.models.filter(({ live }) => !live)
    const elsewhere = open.filter(({ candidate }) => candidate)
    return {
      fetched: open.filter(({ verdict }) => verdict === 'url' || verdict === 'preset'),
      linked: elsewhere.filter(({ candidate }) => candidate.how === 'link'),
      used: elsewhere.filter(({ candidate }) => candidate.how === 'use'),
    }
  },
  get fixable() { return Object.values(this.plan).some((rows) => rows.length) },
  get fixLabel() {
    const { fetched, linked, used } = this.plan
    const parts = [[fetched, 'install'], [linked, 'link'], [used, 'use']].filter(([rows]) => rows.length).map(([rows, word]) => `${word} ${rows.length}`)
    const text = parts.length > 2 ? `${parts[0]}, ${parts[1]} and ${parts[2]}` : parts.join(' and ')
    const bytes = fetched.length && check.report.fetch_bytes ? `, ${bytesText(check.report.fetch_bytes)}` : ''
    return `${text.charAt(0).toUpperCase()}${text.slice(1)}${bytes}`
  },
  pick({ target }) { this.picked[target.dataset.key] = target.selectedIndex },
  fix({ currentTarget: button }) {
    const { fetched, linked, used } = this.plan
    return attempt(button, async () => {
      for (const { candidate, folder, name } of linked) await call('POST', api`/api/models/${candidate.id}/place`, { folder, name })
      if (used.length) await this.use(used.flatMap(({ uses, candidate, name }) => uses.map((model) => replacement(model, name, candidate.name))))
      if (fetched.length) await this.install()
      await this.look()
    })
  },
  async install() {
    const status = await call('POST', api`/api/workflows/${this.name}/install`, {})
    if (status.preset_id) applyDownload(status)
    for (const { name, message } of status.refused ?? []) toast(`${name}: ${message}`, { tone: 'bad' })
    if (status.state === 'paused') toast('It waits: all downloads are paused.')
    refresh('downloads')
  },
  async use(replacements) {
    await call('POST', api`/api/workflows/${this.name}/use`, { replacements })
    refresh('workflows')
  },
  chooseValue({ currentTarget: button }) {
    const field = document.getElementById(`value-${button.dataset.key}`)
    const wrong = this.values[button.dataset.key]
    return attempt(button, async () => {
      await this.use([replacement(wrong, wrong.value, wrong.choices[field.selectedIndex])])
      await this.look()
    })
  },
  add({ currentTarget: { dataset } }) { openAddition(dataset) },
}))

const counted = (list, one, many = `${one}s`) => (list.length ? `${list.length} ${list.length === 1 ? one : many}` : '')

/** Nothing but values stands in the way. */
export const isWhole = ({ missing_models: models, missing_nodes: nodes, unconverted }) => !models.length && !nodes.length && !unconverted.length

const isChanged = ({ node_id: id, input }) => form.fields.some(({ key, current, value }) => key === `${id}.${input}` && current !== value)
const replacement = ({ node_id, input }, from, to) => ({ node_id, input, from, to })
const placeOf = ({ node_id: id, class_type: type, title, input }) => [title || type, input, `node ${id}`].filter(Boolean).join(' · ')

function row(key, uses, picked) {
  const [{ folder, name, verdict, presets, url, size_bytes: size, candidates, message }] = uses
  const candidate = verdict === 'elsewhere' ? candidates[picked] ?? candidates[0] : undefined
  const live = liveOf(folder, name)
  return {
    key, uses, folder, name, verdict, candidate, live,
    short: shortName(name, NAME_WIDTH),
    place: folder ?? 'not known',
    nodes: uses.length === 1 && (uses[0].needed_by ?? []).length < 2 ? placeOf(uses[0]) : `${Math.max(uses.length, uses[0].needed_by?.length ?? 0)} nodes`,
    size: size === null && candidate ? bytesText(candidate.size_bytes) : size === null ? '' : bytesText(size),
    source: sourceOf(verdict, presets, url, candidate),
    from: candidate || presets.length || url ? 'from' : '',
    others: candidates.length > 1 && candidate ? candidates.map((each) => ({ id: each.id, text: `${each.folder}/${each.name}` })) : [],
    tone: live?.state === 'failed' ? 'bad' : live || verdict === 'downloading' ? 'live' : verdict === 'unknown' ? 'warn' : '',
    text: live ? live.text : { downloading: 'Downloading', preset: 'Can be installed', url: 'Can be installed', elsewhere: candidate?.how === 'link' ? 'Can be linked' : 'Can be used', unknown: 'Not known' }[verdict],
    note: live?.error ?? (verdict === 'unknown' ? 'Nobody says where it is to be had.' : ''),
    message,
    part: live?.part,
    moving: live?.state === 'downloading' && live.part !== null,
    unknown: verdict === 'unknown' && !live,
  }
}

function sourceOf(verdict, presets, url, candidate) {
  if (candidate) return `${candidate.folder}/${candidate.name}`
  if (verdict === 'preset' && presets.length) return presets[0]
  try { return url ? new URL(url).hostname : presets[0] ?? '' } catch { return '' }
}

/** How the download of this file goes, whichever install it belongs to. */
function liveOf(folder, name) {
  for (const install of Object.values(downloads.byId)) {
    const file = install.files?.find((each) => each.folder === folder && each.name === name)
    if (!file || (!MOVING[file.state] && file.state !== 'failed')) continue
    const part = file.bytes_total ? file.bytes_done / file.bytes_total : null
    const percent = file.state === 'downloading' && part !== null ? `, ${percentText(part * 100)}` : ''
    return { state: file.state, text: file.state === 'failed' ? 'The download failed' : `${MOVING[file.state]}${percent}`, part, error: file.error }
  }
  return undefined
}

function byClass(nodes) {
  const classes = new Map(nodes.map((node) => [node.class_type, { ...node, key: node.class_type, times: 0 }]))
  for (const { class_type: type } of nodes) classes.get(type).times += 1
  return [...classes.values()].map((node) => ({ ...node, where: node.times === 1 ? placeOf(node) : `${node.times} nodes` }))
}

/** Takes in why a run was refused: a report like the check's, or what ComfyUI says of each node. */
export function refused({ message, details }) {
  if (details.missing_models || details.unconverted) return Object.assign(check, { state: 'known', report: { wrong_values: [], unconverted: [], missing_models: [], missing_nodes: [], ...details, can_run: false }, complaints: [] })
  const complaints = Object.entries(details.node_errors ?? {}).flatMap(([id, { class_type: type, errors = [] }]) => errors.map((error) => ({
    key: `${id}.${error.message}.${error.details}`, where: `${type} · node ${id}`, text: [error.message, error.details].filter(Boolean).join(': '),
  })))
  return Object.assign(check, { complaints: complaints.length ? complaints : [{ key: 'all', where: '', text: message }] })
}
