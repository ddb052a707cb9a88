// A model by its address: the host says what it is, the visitor where it belongs.

import { data } from './alpine.js'
import { attempt, call } from './api.js'
import { bytesText } from './formats.js'
import { applyDownload } from './stores.js'
import { refresh, visit } from './refresh.js'
import { actions } from './suite.js'
import { toast } from './toasts.js'

const dialog = () => document.getElementById('add-model')

/** Opens the dialog; with the folder and the name that a file has to have, whatever the host says of it. */
export function openAddition({ folder = '', name = '' }) {
  const form = dialog().querySelector('form')
  form.reset()
  form.dataset.wanted = name
  form.elements.folder.value = folder
  form.elements.name.value = name
  dialog().showModal()
}

data('addition', () => ({
  text: '',
  trouble: '',
  page: '',
  token: false,
  filled: {},
  get way() { return this.page || this.token },
  close() { dialog().close() },
  async lookUp({ target }) {
    const { form, value } = target
    this.refuse()
    this.text = ''
    if (!target.checkValidity()) return
    this.text = 'Asking the host…'
    const found = await attempt(null, () => call('GET', `/api/models/lookup?url=${encodeURIComponent(value)}`))
    if (target.value !== value) return
    this.text = found && !found.trouble ? [found.name, bytesText(found.size_bytes)].filter(Boolean).join(', ') : ''
    this.refuse(found?.trouble)
    for (const key of ['folder', 'name']) {
      const field = form.elements[key]
      if (form.dataset.wanted && field.value) continue
      // What the host said of another address does not hold for this one; what the visitor chose does.
      if (found?.[key] || field.value === this.filled[key]) field.value = this.filled[key] = found?.[key] ?? ''
    }
  },
  refuse(trouble) {
    Object.assign(this, { trouble: trouble?.message ?? '', page: trouble?.page ?? '', token: !!trouble?.token })
  },
  async add(event) {
    event.preventDefault()
    const form = event.target
    const { url, folder, name } = Object.fromEntries(new FormData(form))
    await attempt(event.submitter, async () => {
      const status = await call('POST', '/api/models/', { url, folder, ...(name && { name }) }).catch((error) => {
        // A message in the corner lies behind the dialog.
        if (!error.status || error.status === 401) throw error
        this.refuse({ ...error.details, message: error.message })
      })
      if (!status) return
      applyDownload(status)
      this.close()
      form.reset()
      toast(status.state === 'installed' ? `${status.name} is here already.` : `Downloading ${status.name}.`, { label: 'Watch', action: () => visit('/') })
      refresh('models', 'downloads')
    })
  },
}))

actions.addModel = () => openAddition({})
