// The workflows page: uploading, deleting with a way back, and what keeps a workflow from running.

import { data, store } from './alpine.js'
import { api, attempt, call } from './api.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

const STATES = { queued: 'Queued', downloading: 'Downloading', verifying: 'Verifying', installed: 'Installed', failed: 'The download failed' }

const statusOf = (id) => store('downloads').byId[id]

async function save(name, workflow) {
  await call('PUT', api`/api/workflows/${name}`, workflow)
  refresh('workflows')
}

data('workflows', () => ({
  get problem() { return store('problem').current },
  get advice() {
    const ids = this.problem.rows.flatMap((row) => row.presets)
    if (!ids.length) return ''
    return ids.every((id) => statusOf(id)?.state === 'installed') ? 'Everything is here now.' : 'Run again when the installs are done.'
  },
  dismiss() { store('problem').current = null },
  installLabel: (id) => `Install ${id}`,
  settled(id) { return Boolean(STATES[statusOf(id)?.state]) && statusOf(id).state !== 'failed' },
  verdict({ presets, text }) {
    const statuses = presets.map(statusOf).filter((status) => STATES[status?.state])
    const { state, progress } = statuses.find((status) => status.state !== 'failed') ?? statuses[0] ?? {}
    if (state) return state === 'downloading' ? `Downloading, ${Math.floor(progress)}%` : STATES[state]
    return presets.length ? 'A preset has it' : text
  },
  upload({ target: input }) {
    const [file] = input.files
    if (!file) return
    attempt(null, async () => {
      const name = file.name.replace(/\.json$/i, '')
      await save(name, await parsed(file))
      toast(`${name} is saved.`, { tone: 'ok' })
    })
    input.value = '' // so that the same file, mended, can be chosen again
  },
  remove({ currentTarget: button }) {
    const { name } = button.dataset
    attempt(button, async () => {
      const workflow = await call('GET', api`/api/workflows/${name}`)
      await call('DELETE', api`/api/workflows/${name}`)
      refresh('workflows')
      toast(`Deleted ${name}.`, { label: 'Undo', action: () => attempt(null, () => save(name, workflow)) })
    })
  },
}))

async function parsed(file) {
  try {
    return JSON.parse(await file.text())
  } catch {
    throw Object.assign(new Error(`Not a JSON file: ${file.name}`), { status: 400 })
  }
}
