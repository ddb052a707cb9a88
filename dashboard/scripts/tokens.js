// API tokens: shown once when made, gone when revoked.

import { data } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

data('tokens', () => ({
  token: '',
  create(event) {
    event.preventDefault()
    const form = event.target
    attempt(event.submitter, async () => {
      const { token } = await call('POST', '/api/tokens/', { name: form.elements.name.value })
      this.token = token
      form.reset()
      refresh('tokens')
    })
  },
  async copy() {
    await navigator.clipboard?.writeText(this.token)
    toast(navigator.clipboard ? 'Copied.' : 'Select the token and copy it: the browser allows no more over plain HTTP.')
  },
  async revoke({ currentTarget: button }) {
    const { id, title } = button.dataset
    if (!(await confirmed({ title: `Revoke ${title}?`, text: 'Scripts that use this token are refused from now on.', label: 'Revoke' }))) return
    await attempt(button, async () => {
      await call('DELETE', api`/api/tokens/${id}`)
      refresh('tokens')
    })
  },
}))
