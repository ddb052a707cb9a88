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

const BUDGET_BYTES = 50_000 // gzip of the scripts, styles and icons that one page loads; docs promise it
const HERE = dirname(fileURLToPath(import.meta.url))
const STATIC = join(HERE, 'static')
const TEMPLATES = join(HERE, 'templates')
const SCRIPTS = join(HERE, 'scripts')
// Each has a module of this name in scripts/pages/, which is loaded when the page is shown.
const STYLED = ['outputs'] // the pages with a stylesheet of this name for them alone
const PAGES = readdirSync(join(SCRIPTS, 'pages')).map((file) => file.replace(/\.js$/, ''))
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

// What a page's module takes from the scripts that every page has, it takes from the one copy that runs.
const fromApp = (app) => ({
  name: 'from-app',
  setup({ onResolve }) {
    const files = shared()
    onResolve({ filter: /^\.{1,2}\/[\w-]+\.js$/ }, ({ path }) => {
      return files.includes(path.split('/').pop()) ? { path: `./${app}`, external: true } : undefined
    })
  },
})

/** The scripts that main.js hands on. */
function shared() {
  const text = readFileSync(join(SCRIPTS, 'main.js'), 'utf8')
  return [...text.matchAll(/^export \* from '\.\/(.+)'$/gm)].map(([, file]) => file)
}

async function script(file, plugin) {
  const result = await build({
    entryPoints: [join(SCRIPTS, file)],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
    define: { 'process.env.NODE_ENV': '"production"' },
    plugins: [plugin],
  })
  return Buffer.from(result.outputFiles[0].contents)
}

async function pageScripts(app) {
  const contents = await Promise.all(PAGES.map((page) => script(`pages/${page}.js`, fromApp(app))))
  return PAGES.map((page, index) => [`${page}.js`, contents[index]])
}

function styles(file) {
  const folder = mkdtempSync(join(tmpdir(), 'styles-'))
  const output = join(folder, file)
  try {
    const cli = packageFile('@tailwindcss/cli', 'dist/index.mjs')
    const args = [cli, '--input', join(HERE, 'styles', file), '--output', output, '--minify']
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
const published = (name, content) => name.replace('.', `.${hash(content)}.`)

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
    const file = published(name, content)
    const compressed = await zopfli.gzipAsync(content, { numiterations: 15 })
    write(file, content)
    write(`${file}.gz`, compressed)
    manifest[name] = file
    sizes[name] = [content.length, compressed.length]
  }
  // The manifest goes last and old files go after it: a page rendered meanwhile finds what it names.
  write('manifest.json', JSON.stringify(manifest, null, 2) + '\n')
  const kept = new Set([...Object.values(manifest).flatMap((name) => [name, `${name}.gz`]), 'manifest.json'])
  for (const name of readdirSync(STATIC)) if (!kept.has(name)) rmSync(join(STATIC, name), { recursive: true })
  return sizes
}

async function main() {
  const app = await script('main.js', withoutAlpineObject)
  const modules = await pageScripts(published('app.js', app))
  const everywhere = [['app.js', app], ['app.css', styles('app.css')], ['icons.svg', icons()]]
  const sheets = STYLED.map((page) => [`${page}.css`, styles(`${page}.css`)])
  const sizes = await publish([...everywhere, ...modules, ...sheets, ['favicon.svg', favicon()], ['licences.txt', licences()]])
  let base = 0
  for (const [name] of everywhere) {
    const [raw, compressed] = sizes[name]
    base += compressed
    console.log(`${name.padEnd(14)}${String(raw).padStart(8)} bytes${String(compressed).padStart(8)} compressed`)
  }
  const excess = modules.map(([name]) => budget(name, sizes[name], base + (sizes[name.replace(/js$/, 'css')]?.[1] ?? 0))).filter(Boolean)
  if (excess.length) throw new Error(excess.join('\n'))
}

/** Says what a page loads; returns why that is too much, or nothing. */
function budget(name, [raw, compressed], base) {
  const total = base + compressed
  const sum = `${String(total).padStart(8)} for the page, of ${BUDGET_BYTES} allowed`
  console.log(`${name.padEnd(14)}${String(raw).padStart(8)} bytes${String(compressed).padStart(8)} compressed${sum}`)
  return total > BUDGET_BYTES && `the page of ${name} loads ${total - BUDGET_BYTES} bytes more than allowed`
}

main().catch((error) => {
  console.error(error.stderr?.toString() || error.message)
  process.exit(1)
})
