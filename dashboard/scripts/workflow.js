// One workflow: its name, and deleting it with a way back.

import { api, attempt, call } from './api.js'
import { asked } from './confirm.js'
import { refresh, visit } from './refresh.js'
import { actions } from './suite.js'
import { toast } from './toasts.js'

async function rename(button, { name }) {
  const typed = await asked({ title: 'Rename the workflow', label: 'Rename', field: 'Name', typed: name })
  if (!typed || typed === name) return
  await attempt(button, async () => {
    const saved = await call('POST', api`/api/workflows/${name}/rename`, { name: typed })
    visit(api`/workflows/${saved.name}`)
  })
}

const removeWorkflow = (button, { name }) => attempt(button, async () => {
  const saved = await call('GET', api`/api/workflows/${name}`)
  await call('DELETE', api`/api/workflows/${name}`)
  if (location.pathname === '/workflows') refresh('workflows')
  else visit('/workflows')
  const undo = () => attempt(null, async () => {
    await call('PUT', api`/api/workflows/${name}`, saved)
    refresh('workflows')
  })
  toast(`Deleted ${name}.`, { label: 'Undo', action: undo })
})

Object.assign(actions, { rename, removeWorkflow })
