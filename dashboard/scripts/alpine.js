// Alpine, put together from the parts the pages use. The ready-made bundle also carries transitions, teleport,
// x-model and more: 5 kB compressed that no template names.

import { data } from 'alpinejs/src/datas'
import { directive } from 'alpinejs/src/directives'
import { setEvaluator } from 'alpinejs/src/evaluator'
import { initTree, interceptInit, start } from 'alpinejs/src/lifecycle'
import { mutateDom } from 'alpinejs/src/mutation'
import { setReactivityEngine } from 'alpinejs/src/reactivity'
import { store } from 'alpinejs/src/store'
import { effect, reactive, stop, toRaw } from '@vue/reactivity'
import 'alpinejs/src/magics/$el'
import 'alpinejs/src/magics/$store'
import 'alpinejs/src/directives/x-bind'
import 'alpinejs/src/directives/x-cloak'
import 'alpinejs/src/directives/x-data'
import 'alpinejs/src/directives/x-for'
import 'alpinejs/src/directives/x-if'
import 'alpinejs/src/directives/x-on'
import 'alpinejs/src/directives/x-text'
import { evaluator } from './expressions.js'

setEvaluator(evaluator)
setReactivityEngine({
  reactive,
  // Vue calls the scheduler without arguments; Alpine's queue wants the runner.
  effect(callback, options = {}) {
    const runner = effect(callback, {
      scheduler: () => (options.scheduler ? options.scheduler(runner) : runner()),
    })
    return runner
  },
  release: stop,
  raw: toRaw,
})

// A list of hundreds, few of them live, is not searched element by element for directives.
interceptInit((el, skip) => {
  if (!el.hasAttribute('data-sparse')) return
  skip()
  // Later: what is started in the middle of a walk runs before the components around it.
  queueMicrotask(() => el.querySelectorAll('[x-data]').forEach((live) => initTree(live)))
})

const swaps = reactive({ count: 0 })
document.addEventListener('htmx:after:swap', () => { swaps.count += 1 })

// x-live and x-live:attribute: what the server rendered stays until there is a value, and after a morph has
// put the server's (older) text back, the live value is written again.
directive('live', (el, { value: attribute, expression }, { effect: watch, evaluateLater }) => {
  const evaluate = evaluateLater(expression)
  watch(() => {
    void swaps.count
    evaluate((result) => {
      if (result !== undefined && result !== null) mutateDom(() => show(el, attribute, result))
    })
  })
})

function show(el, attribute, result) {
  if (attribute === 'hidden') el.hidden = Boolean(result)
  else if (attribute) el.setAttribute(attribute, result)
  else if (el.textContent !== String(result)) el.textContent = result
}

export { data, start, store }
