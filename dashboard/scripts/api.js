// Calls of the JSON API. Errors are shown where they happen, in the server's words.

import { signIn, visit } from './refresh.js'
import { toast } from './toasts.js'

class ApiError extends Error {
  constructor(status, error) {
    super(error?.message ?? `The dashboard answered with status ${status}.`)
    this.status = status
    this.type = error?.type
    this.details = error?.details ?? {}
  }
}

/** Sends JSON, or a file as it is, and returns the JSON of the answer; throws ApiError for a refusal. */
export async function call(method, path, body) {
  const isFile = body instanceof Blob
  const headers = body === undefined ? {} : { 'Content-Type': isFile ? 'application/octet-stream' : 'application/json' }
  const response = await fetch(path, { method, headers, body: isFile ? body : JSON.stringify(body) })
  const answer = await response.json().catch(() => ({}))
  if (response.status === 401) signIn()
  if (!response.ok) throw new ApiError(response.status, answer.error)
  return answer
}

/** Runs `task` with its button switched off; shows a failure with a way on. Returns undefined after a failure. */
export async function attempt(button, task) {
  if (button) button.disabled = true
  try {
    return await task()
  } catch (error) {
    fail(error, () => attempt(button, task))
    return undefined
  } finally {
    if (button) {
      button.disabled = false
      // Switched off it lost the focus, so that a dialog it opened could not give it back.
      if (document.activeElement.matches('body, dialog:not([open]) *')) button.focus({ preventScroll: true })
    }
  }
}

// A name at the start, such as owner/model, is left as it is.
export const sentence = (text) => text.replace(/^[a-z]+ /, (word) => word[0].toUpperCase() + word.slice(1))

function fail(error, retry) {
  if (error.status === 401) return
  if (error.status === 507) return toast(sentence(error.message), { tone: 'bad', label: 'Free space', action: () => visit('/models') })
  // A refusal stays one; what did not arrive, or met a part that is down, may be sent again.
  const again = !error.status || error.status >= 500
  const text = error.status ? sentence(error.message) : 'The dashboard could not be reached.'
  return toast(text, { tone: 'bad', ...(again && { label: 'Retry', action: retry }) })
}

/** "/api/…" with each part escaped. */
export const api = (strings, ...parts) => String.raw({ raw: strings }, ...parts.map(encodeURIComponent))
