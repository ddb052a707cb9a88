// The list of workflows: any file that carries one is taken, chosen or dropped anywhere on the page.

import { data } from './alpine.js'
import { api, attempt, call } from './api.js'
import { chosen } from './confirm.js'
import { refresh, visit } from './refresh.js'
import { count } from './suite.js'
import { toast } from './toasts.js'

const COPIES = 99

data('workflows', () => ({
  over: false,
  sending: '',
  listeners: {},
  init() {
    let depth = 0 // every element that is crossed says that it was entered and left
    const carries = ({ dataTransfer }) => dataTransfer?.types.includes('Files')
    this.listeners = {
      dragenter: (event) => { if (carries(event)) { depth += 1; this.over = true } },
      dragleave: (event) => { if (carries(event)) { depth -= 1; this.over = depth > 0 } },
      dragover: (event) => { if (carries(event)) event.preventDefault() },
      drop: (event) => {
        if (!carries(event)) return
        event.preventDefault()
        depth = 0
        this.over = false
        this.send([...event.dataTransfer.files])
      },
    }
    for (const [name, listener] of Object.entries(this.listeners)) addEventListener(name, listener)
  },
  destroy() {
    for (const [name, listener] of Object.entries(this.listeners)) removeEventListener(name, listener)
  },
  filter(event) { event.target.form.requestSubmit() },
  choose({ target: input }) {
    this.send([...input.files])
    input.value = '' // so that the same file, mended, can be chosen again
  },
  async send(files) {
    const saved = []
    for (const file of files) {
      this.sending = `Reading ${file.name}…`
      saved.push(await attempt(null, () => keep(file)))
    }
    this.sending = ''
    const names = saved.filter(Boolean).map(({ name }) => name)
    if (files.length === 1 && names.length) return visit(api`/workflows/${names[0]}`)
    if (names.length) toast(`${count(names.length, 'workflow')} saved.`, { tone: 'ok' })
    return refresh('workflows')
  },
}))

const nameOf = (file) => file.replace(/\.[^.]+$/, '').replace(/[\\/:*?"<>|\u0000-\u001f]/g, ' ').replace(/^[.\s]+|[.\s]+$/g, '').slice(0, 100) || 'workflow'

/** Saves the workflow in `file`, asking where its name is taken; null when that was answered with neither. */
async function keep(file) {
  const name = nameOf(file.name)
  const saved = await post(file, name)
  if (saved) return saved
  const answer = await chosen({
    title: `${name} is there already`,
    text: 'A workflow of yours has this name. Replacing it cannot be undone.',
    label: 'Replace',
    others: [{ label: 'Keep both', value: 'both' }],
  })
  if (answer === 'yes') return call('POST', api`/api/workflows/?name=${name}&overwrite=1`, file)
  return answer === 'both' ? keepBoth(file, name) : null
}

async function keepBoth(file, name) {
  for (let number = 2; number <= COPIES; number += 1) {
    const saved = await post(file, `${name} ${number}`)
    if (saved) return saved
  }
  throw Object.assign(new Error(`There are ${COPIES} workflows of that name: rename some.`), { status: 409 })
}

/** null: the name is taken. */
const post = (file, name) => call('POST', api`/api/workflows/?name=${name}`, file).catch((error) => {
  if (error.status !== 409) throw error
  return null
})
