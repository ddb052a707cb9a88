// Tokens for the hubs that models come from: sent once, never shown.

import { data } from './alpine.js'
import { api, attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { refresh } from './refresh.js'
import { toast } from './toasts.js'

const told = ({ state, account, message }) => {
  refresh('credentials')
  if (state === 'valid') toast(`The token belongs to ${account}.`)
  else if (message) toast(message, { tone: 'bad' })
}

data('credentials', () => ({
  save(event) {
    event.preventDefault()
    const { hub, token } = event.target.elements
    attempt(event.submitter, async () => {
      told(await call('PUT', api`/api/credentials/${hub.value}`, { token: token.value }))
      token.value = ''
    })
  },
  check({ currentTarget: button }) {
    attempt(button, async () => told(await call('POST', api`/api/credentials/${button.dataset.name}/check`)))
  },
  async remove({ currentTarget: button }) {
    const { name, title } = button.dataset
    const text = 'Downloads use the token of the environment from now on, if there is one.'
    if (!(await confirmed({ title: `Remove the token for ${title}?`, text, label: 'Remove' }))) return
    await attempt(button, async () => {
      await call('DELETE', api`/api/credentials/${name}`)
      refresh('credentials')
    })
  },
}))
