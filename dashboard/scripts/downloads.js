// Home's list of downloads: what they come to, and what its rows do beside what every page's do.

import { store } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText, speedText } from './formats.js'
import { component } from './live.js'
import { refresh } from './refresh.js'
import { refreshPreset } from './stores.js'
import { actions, steerAll } from './suite.js'

const downloads = store('downloads')

component('totals', {
  get text() {
    const active = Object.values(downloads.byId).filter(({ state }) => state === 'downloading')
    if (!active.length) return undefined
    const sum = (value) => active.reduce((total, install) => total + value(install), 0)
    const left = sum(({ bytes_done: done, bytes_total: total }) => (total ?? done) - done)
    return `${active.length} active · ${speedText(sum((install) => install.bytes_per_second ?? 0))} · ${bytesText(left)} to go`
  },
})

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
  // The row moves with its button, which loses the focus: keys go on where they were. A swap that was under way before
  // still has it in its old place.
  const follow = () => {
    const rows = [...document.querySelectorAll('.download')]
    const row = rows.find(({ dataset }) => dataset.id === id)
    if (document.activeElement === document.body) row?.querySelector('[data-action="moveUp"], button')?.focus()
    if (rows.indexOf(row) < place) document.removeEventListener('htmx:after:swap', follow)
  }
  document.addEventListener('htmx:after:swap', follow)
  refresh('downloads')
})

Object.assign(actions, { drop, moveUp, pauseAll: steerAll('pause') })
