// Builds dashboard/static/ from scripts/, styles/ and the icons that the templates name.
// Run from anywhere after `npm ci`: node dashboard/build.mjs

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { optimize } from 'svgo'

const BUDGET_BYTES = 50_000 // gzip of scripts, styles and icons together; docs promise it
const HERE = dirname(fileURLToPath(import.meta.url))
const STATIC = join(HERE, 'static')
const TEMPLATES = join(HERE, 'templates')
const BUNDLED = ['@phosphor-icons/core', '@vue/reactivity', 'alpinejs', 'htmx.org', 'tailwindcss']

const packageFile = (name, path) => join(HERE, '../node_modules', name, path)
const packageJson = (name) => JSON.parse(readFileSync(packageFile(name, 'package.json'), 'utf8'))

// Alpine hands its whole public object to every directive, which drags in all that it offers, used or not.
// scripts/alpine.js names what is used; no directive among that looks at the object.
const withoutAlpineObject = {
  name: 'without-alpine-object',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^\.\/alpine$/ }, () => ({ path: 'alpine', namespace: 'empty' }))
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'export default {}' }))
  },
}

async function scripts() {
  const result = await build({
    entryPoints: [join(HERE, 'scripts/main.js')],
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    legalComments: 'none',
    define: { 'process.env.NODE_ENV': '"production"' },
    plugins: [withoutAlpineObject],
  })
  return Buffer.from(result.outputFiles[0].contents)
}

function styles() {
  const folder = mkdtempSync(join(tmpdir(), 'styles-'))
  const output = join(folder, 'app.css')
  try {
    const cli = packageFile('@tailwindcss/cli', 'dist/index.mjs')
    const args = [cli, '--input', join(HERE, 'styles/app.css'), '--output', output, '--minify']
    execFileSync(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: dirname(HERE) })
    return readFileSync(output)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function iconNames() {
  const names = new Set()
  for (const file of readdirSync(TEMPLATES)) {
    const text = readFileSync(join(TEMPLATES, file), 'utf8')
    for (const [, name] of text.matchAll(/\bicon\("([a-z0-9-]+)"/g)) names.add(name)
  }
  return [...names].sort()
}

function icons() {
  const symbols = iconNames().map((name) => {
    const source = readFileSync(packageFile('@phosphor-icons/core', `assets/regular/${name}.svg`), 'utf8')
    const { data } = optimize(source, { multipass: true, floatPrecision: 1 })
    const [, body] = data.match(/^<svg[^>]*>(.*)<\/svg>$/s)
    return `<symbol id="${name}" viewBox="0 0 256 256">${body}</symbol>`
  })
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg">${symbols.join('')}</svg>\n`)
}

function favicon() {
  return Buffer.from(optimize(readFileSync(join(HERE, 'styles/favicon.svg'), 'utf8')).data + '\n')
}

function licences() {
  const parts = BUNDLED.map((name) => {
    const about = packageJson(name)
    const file = readdirSync(packageFile(name, '.')).find((entry) => /^licen[cs]e/i.test(entry))
    const text = file ? readFileSync(packageFile(name, file), 'utf8').trim() : `See ${homepage(about)}`
    return `${about.name} ${about.version} (${about.license})\n\n${text}\n`
  })
  return Buffer.from(parts.join(`\n${'-'.repeat(80)}\n\n`))
}

function homepage(about) {
  const address = about.homepage ?? about.repository?.url ?? about.repository
  return address.replace(/^git\+/, '').replace(/\.git$/, '')
}

const hash = (content) => createHash('sha256').update(content).digest('hex').slice(0, 8)

function write(name, content) {
  const temporary = join(STATIC, `.${name}.part`)
  writeFileSync(temporary, content)
  renameSync(temporary, join(STATIC, name))
}

async function publish(files) {
  // Imported late: it installs handlers that print its whole source when something else here fails.
  const { default: zopfli } = await import('@gfx/zopfli')
  mkdirSync(STATIC, { recursive: true })
  const manifest = {}
  const sizes = {}
  for (const [name, content] of files) {
    const published = name.replace('.', `.${hash(content)}.`)
    const compressed = await zopfli.gzipAsync(content, { numiterations: 15 })
    write(published, content)
    write(`${published}.gz`, compressed)
    manifest[name] = published
    sizes[name] = [content.length, compressed.length]
  }
  // The manifest goes last and old files go after it: a page rendered meanwhile finds what it names.
  write('manifest.json', JSON.stringify(manifest, null, 2) + '\n')
  const kept = new Set([...Object.values(manifest).flatMap((name) => [name, `${name}.gz`]), 'manifest.json'])
  for (const name of readdirSync(STATIC)) if (!kept.has(name)) rmSync(join(STATIC, name), { recursive: true })
  return sizes
}

async function main() {
  const budgeted = [
    ['app.js', await scripts()],
    ['app.css', styles()],
    ['icons.svg', icons()],
  ]
  const sizes = await publish([...budgeted, ['favicon.svg', favicon()], ['licences.txt', licences()]])
  let total = 0
  for (const [name] of budgeted) {
    const [raw, compressed] = sizes[name]
    total += compressed
    console.log(`${name.padEnd(12)}${String(raw).padStart(8)} bytes${String(compressed).padStart(8)} compressed`)
  }
  console.log(`total${String(total).padStart(29)} compressed, of ${BUDGET_BYTES} allowed`)
  if (total > BUDGET_BYTES) throw new Error(`the pages load ${total - BUDGET_BYTES} bytes more than allowed`)
}

main().catch((error) => {
  console.error(error.stderr?.toString() || error.message)
  process.exit(1)
})
