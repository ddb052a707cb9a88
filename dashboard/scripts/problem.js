// Why a workflow cannot run, from the 422 that `execute` was answered with.

import { store } from './alpine.js'

store('problem', { current: null })

const LABELS = { missing_models: 'model', missing_nodes: 'node' }

/** The panel's content: rows of what is missing, or of what each node complains about. */
export function problemOf(workflow, { type, message, details }) {
  const rows = details.missing?.map(missing) ?? Object.entries(details.node_errors ?? {}).flatMap(complaints)
  const noun = LABELS[type] ?? 'problem'
  const label = rows.length ? `${rows.length} ${noun}${rows.length === 1 ? '' : 's'}${LABELS[type] ? ' missing' : ''}` : 'Cannot run'
  return { workflow, title: workflow, message, label, rows: rows.map((row, index) => ({ ...row, key: index })) }
}

function missing({ node_id: id, class_type: type, folder, name, presets }) {
  return {
    name: name ?? type,
    where: [folder, `node ${id}${name ? `, ${type}` : ''}`].filter(Boolean).join(' · '),
    presets: presets ?? [],
    text: name ? `No known preset has it: put the file into models/${folder}.` : 'Install the custom node that brings it.',
  }
}

function complaints([id, { class_type: type, errors = [] }]) {
  return errors.map(({ message, details }) => ({
    name: type ?? `node ${id}`, where: `node ${id}`, presets: [], text: [message, details].filter(Boolean).join(': '),
  }))
}
