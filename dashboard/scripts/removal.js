// Deleting what ComfyUI made: the files of cells of the gallery.

import { attempt, call } from './api.js'
import { confirmed } from './confirm.js'
import { bytesText } from './formats.js'
import { count } from './suite.js'
import { toast } from './toasts.js'

const NAMES_SHOWN = 20
const AT_ONCE = 500

/** Deletes the files of `cells` when that is agreed to; resolves to whether it was done. */
export async function removeOutputs(button, cells) {
  const items = cells.slice(0, NAMES_SHOWN).map(({ dataset }) => ({ name: dataset.name, note: bytesText(Number(dataset.size)) }))
  const agreed = await confirmed({
    title: `Delete ${count(cells.length, 'file')}?`,
    text: `They are removed from the volume for good.${cells.length > NAMES_SHOWN ? ` The first ${NAMES_SHOWN} of them:` : ''}`,
    items,
    label: 'Delete',
    word: cells.length > 1 ? 'delete' : '',
  })
  if (!agreed) return false
  return attempt(button, async () => {
    const paths = cells.map(({ dataset }) => dataset.path)
    let number = 0, freed = 0, kept = []
    for (let start = 0; start < paths.length; start += AT_ONCE) {
      const answer = await call('DELETE', '/api/outputs/', { paths: paths.slice(start, start + AT_ONCE) })
      const gone = new Set([...answer.removed, ...answer.not_found])
      for (const cell of cells) if (gone.has(cell.dataset.path)) cell.remove()
      number += answer.removed.length
      freed += answer.freed_bytes
      kept = [...kept, ...answer.failed]
    }
    if (number || !kept.length) toast(`Deleted ${count(number, 'file')}, freed ${bytesText(freed)}.`)
    if (kept.length) toast(`${count(kept.length, 'file')} could not be deleted: ${kept[0].path}: ${kept[0].reason}.`, { tone: 'bad' })
    return !kept.length
  })
}
