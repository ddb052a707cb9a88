// What buttons do, on every page. A button names its action and its object in data attributes: one listener
// serves them all, and expressions never carry data.

import { data, store } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText } from './formats.js'
import { openJump } from './jump.js'
import { problemOf } from './problem.js'
import { refresh, visit, visitDetail } from './refresh.js'
import { applyDownload, reconnect, refreshPreset } from './stores.js'
import { nextTheme, setTheme } from './theme.js'
import { toast } from './toasts.js'

const count = (number, noun) => `${number} ${noun}${number === 1 ? '' : 's'}`

const install = (button, id) => attempt(button, async () => {
  const status = await call('POST', api`/api/presets/${id}/install`, {})
  applyDownload(status)
  if (status.state === 'paused') sayPaused()
  refreshPreset(id)
})

const uninstall = (button, { id, title }) => attempt(button, async () => {
  const path = api`/api/presets/${id}`
  const { removed, kept, freed_bytes: freed } = await call('DELETE', `${path}?dry_run=true`)
  const agreed = await confirmed({
    title: `Uninstall ${title}?`,
    text: `Removes ${count(removed.length, 'file')}, frees ${bytesText(freed)}.${kept.length ? ` Keeps ${count(kept.length, 'file')}.` : ''}`,
    items: [...removed.map((name) => ({ name, note: '' })), ...kept.map(({ name, reason }) => ({ name, note: `kept: ${reason}` }))],
    label: 'Uninstall',
  })
  if (!agreed) return
  const done = await call('DELETE', path)
  const stays = done.kept.length ? `, kept ${count(done.kept.length, 'file')} that something else needs` : ''
  toast(`Removed ${count(done.removed.length, 'file')}, ${bytesText(done.freed_bytes)}${stays}.`)
  refresh('downloads', 'presets', 'models')
})

const useFile = (button, { id, folder, name }) => attempt(button, async () => {
  await call('POST', api`/api/models/${id}/place`, { folder, name })
  toast(`${name} is in ${folder} now, and takes no more space.`)
  refresh('*')
})

const unite = (button) => attempt(button, async () => {
  let freed = 0
  const { groups } = await call('GET', '/api/models/duplicates')
  for (const [done, { sha256 }] of groups.entries()) {
    button.textContent = `${done} of ${groups.length}`
    freed += (await call('POST', '/api/models/duplicates', { sha256 })).freed_bytes
  }
  toast(`Freed ${bytesText(freed)}.`)
  refresh('models')
})

async function restart(button, { name, safe, confirm }) {
  const text = name === 'comfyui' ? 'A running workflow is interrupted.' : 'What it does at the moment is interrupted.'
  if (confirm && !(await confirmed({ title: `Restart ${name}?`, text, label: 'Restart' }))) return
  await attempt(button, async () => {
    await call('POST', api`/api/system/processes/${name}/restart`, safe ? { safe_mode: true } : {})
    toast(safe ? 'ComfyUI starts without custom nodes.' : `Restarting ${name}.`)
    refresh('system', 'boot')
  })
}

const run = (button, workflow) => attempt(button, async () => {
  try {
    await call('POST', '/api/comfyui/execute', { workflow })
  } catch (error) {
    if (error.status !== 422) throw error
    store('problem').current = problemOf(workflow, error)
    if (location.pathname !== '/workflows') visit('/workflows')
    else scrollTo({ top: 0 })
    return
  }
  store('problem').current = null
  if (document.querySelector('[data-live~="queue"]')) refresh('queue')
  else toast(`${workflow} is queued.`, { label: 'Watch', action: () => visit('/workflows') })
})

const cancel = (button, { id, title }) => attempt(button, async () => {
  await call('DELETE', api`/api/downloads/${id}`)
  toast(`Cancelled ${title}. What is here is kept.`, { label: 'Resume', action: () => actions.resume(null, { id }) })
  refreshPreset(id)
})

const steer = (verb) => (button, { id, presetId }) => attempt(button, async () => {
  const { all_paused: waits } = await call('POST', api`/api/downloads/${id}/${verb}`)
  if (waits) sayPaused()
  refreshPreset(presetId ?? id)
})

const steerAll = (verb) => (button) => attempt(button, async () => {
  await call('POST', `/api/downloads/${verb}`)
  refresh('downloads', 'presets')
})

const sayPaused = () => toast('It waits: all downloads are paused.', { label: 'Resume all', action: () => steerAll('resume')(null) })

async function drop(button, { id, title }) {
  const text = 'What was fetched of it is deleted.'
  if (!(await confirmed({ title: `Discard ${title}?`, text, label: 'Discard' }))) return
  await attempt(button, async () => {
    await call('DELETE', api`/api/downloads/${id}?keep=false`)
    refreshPreset(id)
  })
}

const moveUp = (button, { id }) => attempt(button, async () => {
  const ids = [...document.querySelectorAll('.download')].map(({ dataset }) => dataset.id)
  const place = ids.indexOf(id)
  ids.splice(place - 1, 2, id, ids[place - 1])
  await call('PUT', '/api/downloads/order', { ids })
  // The row moves with its button, which loses the focus: keys go on where they were.
  document.addEventListener('htmx:after:swap', () => {
    const row = document.getElementById(`download-${id}`)
    row?.querySelector('[data-action="moveUp"], button')?.focus()
  }, { once: true })
  refresh('downloads')
})

const removeFromQueue = (button, path) => attempt(button, async () => {
  await call('DELETE', path)
  refresh('queue')
})

const actions = {
  install: (button, { id }) => install(button, id),
  useFile,
  unite,
  uninstall,
  cancel,
  pause: steer('pause'),
  resume: steer('resume'),
  retry: steer('retry'),
  pauseAll: steerAll('pause'),
  resumeAll: steerAll('resume'),
  drop,
  moveUp,
  restart,
  run: (button, { workflow }) => run(button, workflow),
  interrupt: (button, { id }) => removeFromQueue(button, api`/api/comfyui/queue?prompt_id=${id}`),
  clearQueue: (button) => removeFromQueue(button, '/api/comfyui/queue'),
  detail(link, data, event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    visitDetail(link.pathname)
  },
  chooseTheme: (button, { value }) => setTheme(value),
  cycleTheme: nextTheme,
  openJump,
  reconnect,
}

data('suite', () => ({
  act(event) {
    const element = event.target.closest('[data-action]')
    if (element && !element.disabled) actions[element.dataset.action](element, element.dataset, event)
  },
}))
