// What buttons do, on every page. A button names its action and its object in data attributes: one listener
// serves them all, and expressions never carry data.

import { data } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { openJump } from './jump.js'
import { refresh, visit } from './refresh.js'
import { applyDownload, reconnect, refreshPreset } from './stores.js'
import { nextTheme, setTheme } from './theme.js'
import { toast } from './toasts.js'

export const count = (number, noun) => `${number} ${noun}${number === 1 ? '' : 's'}`

const install = (button, id) => attempt(button, async () => {
  const status = await call('POST', api`/api/presets/${id}/install`, {})
  applyDownload(status)
  if (status.state === 'paused') sayPaused()
  refreshPreset(id)
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

const run = (button, { workflow, run: prompt, seed, title = workflow }) => attempt(button, async () => {
  try {
    await call('POST', '/api/comfyui/execute', { ...(prompt ? { run: prompt } : { workflow }), ...(seed && { seed }) })
  } catch (error) {
    // What it lacks, and the way to it, is on the workflow's own page.
    if (error.status !== 422 || !workflow) throw error
    visit(api`/workflows/${workflow}`)
    return
  }
  const shown = document.querySelector('[data-shape][data-live~="queue"]')
  refresh('queue')
  const { top, bottom } = shown?.getBoundingClientRect() ?? {}
  if (!(top < innerHeight && bottom > 0)) toast(`${title} is queued.`, { label: 'Watch', action: () => (shown?.isConnected ? shown.scrollIntoView() : visit('/workflows')) })
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

export const steerAll = (verb) => (button) => attempt(button, async () => {
  await call('POST', `/api/downloads/${verb}`)
  refresh('downloads', 'presets')
})

const sayPaused = () => toast('It waits: all downloads are paused.', { label: 'Resume all', action: () => steerAll('resume')(null) })

const removeFromQueue = (button, path) => attempt(button, async () => {
  await call('DELETE', path)
  refresh('queue')
})

/** What a button with that data-action does: takes it, its data and the event. The modules of pages add theirs. */
export const actions = {
  install: (button, { id }) => install(button, id),
  cancel,
  pause: steer('pause'),
  resume: steer('resume'),
  retry: steer('retry'),
  resumeAll: steerAll('resume'),
  restart,
  run,
  interrupt: (button, { id }) => removeFromQueue(button, api`/api/comfyui/queue?prompt_id=${id}`),
  clearQueue: (button) => removeFromQueue(button, '/api/comfyui/queue'),
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
