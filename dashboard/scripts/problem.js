// Why a workflow cannot run, from the 422 that `execute` was answered with.

import { store } from './alpine.js'

store('problem', { current: null })

const counted = (list, noun) => (list.length ? `${list.length} ${noun}${list.length === 1 ? '' : 's'}` : '')

/** The panel's content: rows of the models and nodes that are missing, and of what each node complains about. */
export function problemOf(workflow, { message, details: { missing_models: missing = [], missing_nodes: nodes = [], node_errors: errors = {} } }) {
  const complaints = Object.entries(errors).flatMap(complaint)
  const parts = [counted(missing, 'model'), counted(nodes, 'node')].filter(Boolean).join(' and ')
  const label = parts ? `${parts} missing` : counted(complaints, 'problem') || 'Cannot run'
  const rows = [...missing.map(missingModel), ...nodes.map(missingNode), ...complaints]
  return { workflow, title: workflow, message, label, rows: rows.map((row, key) => ({ ...row, key })) }
}

const missingModel = ({ node_id: id, class_type: type, folder, name, presets }) => ({
  name,
  where: [folder, `node ${id}, ${type}`].filter(Boolean).join(' · '),
  presets,
  text: folder ? `No known preset has it: put the file into models/${folder}.` : 'No known preset has it.',
})

const missingNode = ({ node_id: id, class_type: type }) => ({
  name: type, where: `node ${id}`, presets: [], text: 'Install the custom node that brings it.',
})

const complaint = ([id, { class_type: type, errors = [] }]) => errors.map(({ message, details }) => ({
  name: type, where: `node ${id}`, presets: [], text: [message, details].filter(Boolean).join(': '),
}))
