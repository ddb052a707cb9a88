// One output, large: what made it, the workflow that it carries, and the ones beside it.

import { data, store } from './alpine.js'
import { api, attempt, call } from './api.js'
import { chosen } from './confirm.js'
import { bytesText } from './formats.js'
import { refresh, visit } from './refresh.js'
import { removeOutputs } from './removal.js'
import { toast } from './toasts.js'

const COPIES = 99
const NOTHING = { path: '', url: '', name: '', note: '', facts: [], hasWorkflow: false, trouble: '' }

let cell = null

const dialog = () => document.getElementById('picture')

store('picture', {
  ...NOTHING,
  close() { dialog().close() },
  closed() {
    document.getElementById('picture-media').replaceChildren() // a film goes on playing otherwise
    cell?.querySelector('a').focus()
    cell?.scrollIntoView({ block: 'nearest' })
  },
  keys(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step || event.target.matches('input, textarea, video, audio')) return
    event.preventDefault()
    move(step)
  },
  previous() { move(-1) },
  next() { move(1) },
  get first() { return !this.path || !neighbour(-1) },
  get final() { return !this.path || !neighbour(1) },
  again({ currentTarget: button }) {
    return attempt(button, async () => {
      await call('POST', '/api/comfyui/execute', { output: this.path, seed: 'random' })
      refresh('queue')
      toast('It runs again with another seed.', { label: 'Watch', action: () => visit('/workflows') })
    })
  },
  keep({ currentTarget: button }) {
    return attempt(button, async () => {
      const name = await kept(this.path, stem(this.name))
      if (name) visit(api`/workflows/${name}`)
    })
  },
  async remove({ currentTarget: button }) {
    const going = cell
    const next = neighbour(1) ?? neighbour(-1)
    if (!(await removeOutputs(button, [going]))) return
    if (next) show(next)
    else this.close()
  },
})

const picture = store('picture')

data('picture', () => ({}))

const stem = (name) => name.replace(/\.[^.]+$/, '').replace(/^[.\s]+|[.\s]+$/g, '') || 'workflow'

export function openPicture(target) {
  show(target)
  dialog().showModal()
}

const neighbour = (step) => {
  const group = cell?.parentElement
  if (step > 0) return cell?.nextElementSibling ?? group?.nextElementSibling?.firstElementChild ?? null
  return cell?.previousElementSibling ?? group?.previousElementSibling?.lastElementChild ?? null
}

function move(step) {
  const next = neighbour(step)
  if (next) show(next)
}

async function show(target) {
  cell = target
  const { path, name, media, size, when } = target.dataset
  const url = target.querySelector('a').href
  const known = { path, url, name, note: [bytesText(Number(size)), when].join(' · ') }
  Object.assign(picture, NOTHING, known)
  document.getElementById('picture-media').replaceChildren(element(media, url, name))
  try {
    const { width, height, facts, has_workflow: hasWorkflow } = await call('GET', api`/api/outputs/metadata?path=${path}`)
    if (picture.path !== path) return
    const size_ = width && height ? [`${width} × ${height}`] : []
    Object.assign(picture, { note: [...size_, known.note].join(' · '), facts: facts.map((fact, key) => ({ ...fact, key })), hasWorkflow })
  } catch (error) {
    if (picture.path === path) picture.trouble = error.status ? error.message : 'The dashboard could not be reached.'
  }
}

function element(media, url, name) {
  if (media === 'image') return Object.assign(new Image(), { src: url, alt: name })
  return Object.assign(document.createElement(media === 'audio' ? 'audio' : 'video'), { src: url, controls: true, loop: media === 'video', autoplay: media === 'video', muted: media === 'video' })
}

/** The name under which the workflow is kept now; undefined when the question was answered with neither. */
async function kept(path, name) {
  const saved = await keepAs(path, name)
  if (saved) return saved
  const answer = await chosen({
    title: `${name} is there already`,
    text: 'A workflow of this name was kept before.',
    label: 'Open that one',
    look: 'btn-primary',
    others: [{ label: 'Keep both', value: 'both' }],
  })
  if (answer === 'yes') return name
  for (let number = 2; answer === 'both' && number <= COPIES; number += 1) {
    const another = await keepAs(path, `${name} ${number}`)
    if (another) return another
  }
  return undefined
}

/** null: the name is taken. */
const keepAs = (path, name) => call('POST', '/api/outputs/keep', { path, name }).then((saved) => saved.name, (error) => {
  if (error.status !== 409) throw error
  return null
})
