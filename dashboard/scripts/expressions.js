// What an attribute may say: a path ("$store.link.text"), its negation ("!waiting"), or a call with at most one
// path ("settled(id)"). Logic belongs in components. Alpine's own parser for pages without unsafe-eval takes most
// of JavaScript, at 4.5 kB compressed and 80 ms of every page load.

import { generateEvaluatorFromFunction } from 'alpinejs/src/evaluator'
import { injectMagics } from 'alpinejs/src/magics'
import { closestDataStack, mergeProxies } from 'alpinejs/src/scope'
import { tryCatch } from 'alpinejs/src/utils/error'

const SHAPE = /^(!*)([$\w.]+)(?:(\()([$\w.]*)\))?$/

/** For Alpine's setEvaluator: returns what evaluates `expression` for `el`. */
export function evaluator(el, expression) {
  const magics = {}
  injectMagics(magics, el)
  const stack = [magics, ...closestDataStack(el)]
  if (typeof expression === 'function') return generateEvaluatorFromFunction(stack, expression)
  const shape = SHAPE.exec(expression)
  if (!shape) throw new Error(`not a path, a negation or a call: ${expression}`)
  return tryCatch.bind(null, el, expression, evaluation(stack, shape))
}

function evaluation(stack, [, negations, path, call, argument]) {
  return (receive = () => {}, { scope = {}, params = [] } = {}) => {
    const names = mergeProxies([scope, ...stack])
    const [holder, value] = resolve(names, path)
    let result = value
    if (typeof value === 'function') {
      result = value.apply(holder, call ? [argument && resolve(names, argument)[1]] : params)
    }
    receive(negations ? Boolean(result) === (negations.length % 2 === 0) : result)
  }
}

/** The value at `path` and the object that holds it: "this" of a method. */
function resolve(names, path) {
  const parts = path.split('.')
  if (!(parts[0] in names)) throw new Error(`nothing is called ${parts[0]} here`)
  return parts.reduce(([, holder], name) => [holder, holder?.[name]], [null, names])
}
