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
  refusals: {},
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
      clearTimeout(this.timer) // of another that was under way
      if (waits && this.$el.isConnected) this.timer = setTimeout(() => this.look(), RETRY_MS)
    }
  },
  get asking() { return check.state === 'asking' },
  get waiting() { return check.state === 'waiting' },
  get waitText() { return `${sentence(check.message).replace(/\.?$/, '.')} The check is made as soon as it can be.` },
  get failed() { return check.state === 'failed' },
  get ready() { return check.state === 'known' && !check.complaints.length && (check.report.can_run || this.isFilled) },
  /** All that was wrong were values, and the form has others for them. */
  get isFilled() { return form.fields.some(({ current, value }) => current !== value) && !this.values.length && isWhole(check.report) },
  get label() {
    if (check.state !== 'known' || this.ready) return ''
    const missing = [counted(this.models, 'model'), counted([...new Set(check.report.missing_nodes.map(({ class_type: type }) => type))], 'node class', 'node classes')].filter(Boolean).join(' and ')
    const wrong = counted(this.values.filter(({ refused: stops }) => stops !== false), 'wrong value')
    const problems = counted([...this.unconverted, ...this.complaints], 'problem')
    return [missing && `${missing} missing`, wrong, problems].filter(Boolean).join(', ')
  },
  get models() {
    const files = new Map()
    for (const model of check.report ? missing(check.report) : []) {
      const key = `${model.folder}/${model.name}`
      files.set(key, [...(files.get(key) ?? []), model])
    }
    return [...files].map(([key, uses]) => row(key, uses, this.picked[key] ?? 0, this.refusals))
  },
  get nodes() { return byPack(check.report?.missing_nodes ?? []) },
  get values() {
    return (check.report?.wrong_values ?? []).filter((wrong) => !isChanged(wrong)).map((wrong, key) => ({
      ...wrong, key, fieldId: `value-${key}`, label: placeOf(wrong), options: typeof wrong.value === 'string' ? wrong.choices.map((choice, index) => ({ key: index, text: String(choice) })) : [],
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
  get fixNote() { return (this.plan.fetched.length ? 'The check is repeated when it is here.' : '') },
  get fixable() { return check.state === 'known' && Object.values(this.plan).some((rows) => rows.length) },
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
      refresh('models')
    })
  },
  async install() {
    const status = await call('POST', api`/api/workflows/${this.name}/install`, {}).catch((error) => {
      if (!error.details.refused) throw error
      return error.details
    })
    this.refusals = Object.fromEntries(status.refused.map((file) => [file.name, file]))
    if (status.preset_id) applyDownload(status)
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
export const isWhole = (report) => ![...missing(report), ...report.missing_nodes, ...report.unconverted].length

/** The form may have another file for every node that needs one. */
const missing = (report) => report.missing_models.filter(({ needed_by: ids = [], node_id: id, input }) => ![id, ...ids].every((each) => isChanged({ node_id: each, input })))

const isChanged = ({ node_id: id, input }) => form.fields.some(({ key, current, value }) => key === `${id}.${input}` && current !== value)
const replacement = ({ node_id, input }, from, to) => ({ node_id, input, from, to })
const placeOf = ({ node_id: id, class_type: type, title, input }) => [title || type, input, `node ${id}`].filter(Boolean).join(' · ')

function row(key, uses, picked, refusals) {
  const [{ folder, name, verdict, presets, url, size_bytes: size, candidates, message }] = uses
  const candidate = verdict === 'elsewhere' ? candidates[picked] ?? candidates[0] : undefined
  const live = liveOf(folder, name)
  const refusal = live ? undefined : refusals[name.split('/').pop()]
  return {
    key, uses, folder, name, verdict, candidate, live,
    short: shortName(name, NAME_WIDTH),
    place: folder ?? 'not known',
    nodes: uses.length === 1 && (uses[0].needed_by ?? []).length < 2 ? placeOf(uses[0]) : `${Math.max(uses.length, uses[0].needed_by?.length ?? 0)} nodes`,
    size: size === null && candidate ? bytesText(candidate.size_bytes) : size === null ? '' : bytesText(size),
    source: candidate ? placed(candidate, folder) : sourceOf(verdict, presets, url),
    from: candidate || presets.length || url ? 'from' : '',
    others: candidates.length > 1 && candidate ? candidates.map((each) => ({ id: each.id, text: placed(each, folder) })) : [],
    tone: refusal || live?.state === 'failed' ? 'bad' : live || verdict === 'downloading' ? 'live' : verdict === 'unknown' ? 'warn' : '',
    text: live ? live.text : refusal ? 'Refused by its host' : { downloading: 'Downloading', preset: 'Can be installed', url: 'Can be installed', elsewhere: candidate?.how === 'link' ? 'Can be linked' : 'Can be used', unknown: 'Not known' }[verdict],
    page: refusal?.page ?? null,
    note: refusal ? `${sentence(refusal.message)}.` : live?.error ?? (verdict === 'unknown' ? 'Nobody says where it is to be had.' : ''),
    message,
    part: live?.part,
    moving: live?.state === 'downloading' && live.part !== null,
    unknown: Boolean(refusal) || (verdict === 'unknown' && !live),
  }
}

/** Where a candidate lies, as far as the other columns do not say it. */
const placed = (candidate, folder) => (candidate.folder === folder ? '' : `${candidate.folder}/`) + shortName(candidate.name, NAME_WIDTH)

function sourceOf(verdict, presets, url) {
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

/** One row for each pack, and for each class of which none is known. */
function byPack(nodes) {
  const rows = new Map()
  for (const node of nodes) {
    const key = node.pack?.url ?? node.class_type
    rows.set(key, [...(rows.get(key) ?? []), node])
  }
  return [...rows].map(([key, all]) => {
    const [{ class_type: type, title, pack }] = all
    const where = all.length > 1 ? `${all.length} nodes` : placeOf({ ...all[0], class_type: '', title: title === type ? '' : title })
    return { key, where, types: [...new Set(all.map((node) => node.class_type))].join(', '), message: wayOut(all[0]), packTitle: pack?.title ?? '', packUrl: pack?.url ?? null }
  })
}

/** What the message says beyond what the row shows. */
function wayOut({ message, title, class_type: type, pack }) {
  const text = message.replace(`${title}: `, '').replace(`this ComfyUI has no node class ${type}`, '').replace(` (${pack?.url})`, '')
  return `${sentence(text.replace(/^\W+(and )?/, ''))}.`
}

/** Takes in why a run was refused: a report like the check's, or what ComfyUI says of each node. */
export function refused({ message, details }) {
  if (details.missing_models || details.unconverted) return Object.assign(check, { state: 'known', report: { wrong_values: [], unconverted: [], missing_models: [], missing_nodes: [], ...details, can_run: false }, complaints: [] })
  const complaints = Object.entries(details.node_errors ?? {}).flatMap(([id, { class_type: type, errors = [] }]) => errors.map((error) => ({
    key: `${id}.${error.message}.${error.details}`, where: `${type} · node ${id}`, text: [error.message, error.details].filter(Boolean).join(': '),
  })))
  return Object.assign(check, { complaints: complaints.length ? complaints : [{ key: 'all', where: '', text: message }] })
}
