// A model by its address: the host says what it is, the visitor where it belongs.

import { data } from './alpine.js'
import { attempt, call } from './api.js'
import { bytesText } from './formats.js'
import { applyDownload } from './stores.js'
import { refresh, visit } from './refresh.js'
import { toast } from './toasts.js'

const dialog = () => document.getElementById('add-model')

data('addition', () => ({
  text: '',
  trouble: '',
  page: '',
  open() { dialog().showModal() },
  close() { dialog().close() },
  async lookUp({ target }) {
    const { form, value } = target
    Object.assign(this, { text: '', trouble: '', page: '' })
    if (!target.checkValidity()) return
    this.text = 'Asking the host…'
    const found = await attempt(null, () => call('GET', `/api/models/lookup?url=${encodeURIComponent(value)}`))
    if (target.value !== value) return
    this.text = found && !found.trouble ? [found.name, bytesText(found.size_bytes)].filter(Boolean).join(', ') : ''
    this.trouble = found?.trouble?.message ?? ''
    this.page = found?.trouble?.page ?? ''
    if (found?.folder) form.elements.folder.value = found.folder
    if (found?.name) form.elements.name.value = found.name
  },
  async add(event) {
    event.preventDefault()
    const form = event.target
    const { url, folder, name } = Object.fromEntries(new FormData(form))
    await attempt(event.submitter, async () => {
      const status = await call('POST', '/api/models/', { url, folder, ...(name && { name }) })
      applyDownload(status)
      this.close()
      form.reset()
      toast(status.state === 'installed' ? `${status.name} is here already.` : `Downloading ${status.name}.`, { label: 'Watch', action: () => visit('/') })
      refresh('models', 'downloads')
    })
  },
}))
