// Opens each report in Chromium at two widths, light and dark, and holds it to what a page has to be: no error, no
// request, nothing wider than the screen, text that can be read, a chart for each metric. Leaves a picture of each.
// Usage: node check.mjs CHROMIUM SHOTS FOLDER…; a folder has report.html and the verdict.json that it is about, or a
// trend.html over nights.
import { existsSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'

const [executablePath, shots, ...folders] = process.argv.slice(2)
const WIDTHS = [[1280, 900], [390, 844]]
const SCHEMES = ['light', 'dark']
const problems = []

// Runs in the page. WCAG's contrast for every piece of text, and the geometry of the charts.
function inspect() {
  const found = []
  const page = document.documentElement
  if (page.scrollWidth > page.clientWidth) {
    const wide = [...document.querySelectorAll('body *')].find(element => {
      if (element.closest('.scroll') && !element.matches('.scroll')) return false
      return element.getBoundingClientRect().right > page.clientWidth + 1
    })
    found.push(`the page is ${page.scrollWidth} wide on a screen of ${page.clientWidth}: ${wide?.outerHTML.slice(0, 120)}`)
  }

  const parse = text => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0]
    return { r, g, b, a }
  }
  const over = (top, under) => {
    const mix = key => top[key] * top.a + under[key] * (1 - top.a)
    return { r: mix('r'), g: mix('g'), b: mix('b'), a: 1 }
  }
  const background = element => {
    const layers = []
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor))
    const canvas = parse(matchMedia('(prefers-color-scheme: dark)').matches ? 'rgb(18, 18, 18)' : 'rgb(255, 255, 255)')
    return layers.reverse().reduce((under, layer) => over(layer, under), canvas)
  }
  const luminance = ({ r, g, b }) => {
    const [R, G, B] = [r, g, b].map(v => v / 255).map(v => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    return 0.2126 * R + 0.7152 * G + 0.0722 * B
  }
  const contrast = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x)
    return (high + 0.05) / (low + 0.05)
  }

  let texts = 0
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    const box = element.getBoundingClientRect()
    if (!node.textContent.trim() || !box.width || element.closest('title, desc, style')) continue
    texts += 1
    const style = getComputedStyle(element)
    const colour = parse(element instanceof SVGElement ? style.fill : style.color)
    const ratio = contrast(over(colour, background(element)), background(element))
    // WCAG AA for text of any size.
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)} of ${JSON.stringify(node.textContent.trim().slice(0, 40))}`)
  }
  if (texts < 50) found.push(`only ${texts} pieces of text`)

  for (const svg of document.querySelectorAll('svg')) {
    const name = svg.closest('figure')?.dataset.metric
    const frame = svg.getBoundingClientRect()
    if (!frame.width) continue
    if (!svg.querySelector('title')?.textContent || !svg.querySelector('desc')?.textContent) found.push(`${name}: no title or no description`)
    if (!svg.querySelector('path.line')?.getAttribute('d')) found.push(`${name}: no line`)
    const boxes = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]).filter(([, box]) => box.width)
    boxes.forEach(([text, box], at) => {
      const words = JSON.stringify(text.textContent)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
        found.push(`${name}: ${words} leaves its chart`)
      }
      const size = parseFloat(getComputedStyle(text).fontSize) * (frame.width / svg.viewBox.baseVal.width)
      if (size < 9) found.push(`${name}: ${words} is only ${size.toFixed(1)} px high`)
      for (const [other, its] of boxes.slice(at + 1)) {
        const across = Math.min(box.right, its.right) - Math.max(box.left, its.left)
        const down = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top)
        if (across > 2 && down > 4) found.push(`${name}: ${words} lies on ${JSON.stringify(other.textContent)}`)
      }
    })
  }
  return found
}

// Every metric of every target has its figure, and a chart unless it is counted once, after the stop.
function missing(verdict, figures) {
  const found = []
  for (const row of verdict.metrics) {
    const figure = figures.find(figure => figure.id === `c${row.run}-${row.name}` || figure.total === `${row.run}-${row.name}`)
    if (!figure) found.push(`no figure for ${row.name} of target ${row.run}`)
    else if (row.class !== 'total' && !figure.chart && row.first !== null) found.push(`no chart for ${row.name} of target ${row.run}`)
  }
  return found
}

// Every night has its row, and every chart a dot or a cross for each.
function nights() {
  const found = []
  const rows = document.querySelectorAll('table tbody tr').length
  if (rows < 20) found.push(`only ${rows} nights`)
  const charts = [...document.querySelectorAll('figure svg')]
  if (charts.length < 5) found.push(`only ${charts.length} charts`)
  for (const chart of charts) {
    const marks = chart.querySelectorAll('.dot, .bad, .absent').length
    if (marks !== rows) found.push(`${chart.closest('figure').dataset.metric}: ${marks} marks for ${rows} nights`)
  }
  for (const word of ['.bad', '.absent', '.change', '.warm', '.flag', '.limit']) {
    if (!document.querySelector(`svg ${word}`)) found.push(`nothing is drawn as ${word}`)
  }
  return found
}

const figures = () =>
  [...document.querySelectorAll('figure')].map(figure => {
    const target = figure.closest('.target').id.slice(1)
    return {
      id: figure.querySelector('svg title')?.id.replace(/-t$/, ''),
      total: figure.querySelector('.total') ? `${target}-${figure.dataset.metric}` : null,
      chart: Boolean(figure.querySelector('svg')),
    }
  })

const browser = await chromium.launch({ executablePath, args: ['--disable-gpu'] })
try {
  for (const folder of folders) {
    const trend = existsSync(join(folder, 'trend.html'))
    const verdict = trend ? null : JSON.parse(readFileSync(join(folder, 'verdict.json'), 'utf8'))
    const url = pathToFileURL(resolve(folder, trend ? 'trend.html' : 'report.html')).href
    for (const [width, height] of WIDTHS) {
      for (const colorScheme of SCHEMES) {
        const name = `${basename(resolve(folder))}-${width}-${colorScheme}`
        const say = problem => problems.push(`${name}: ${problem}`)
        const context = await browser.newContext({ viewport: { width, height }, colorScheme, deviceScaleFactor: 1 })
        const page = await context.newPage()
        page.on('console', message => ['error', 'warning'].includes(message.type()) && say(`console: ${message.text()}`))
        page.on('pageerror', error => say(`error: ${error.message}`))
        page.on('dialog', dialog => say(`a dialog opened: ${dialog.message()}`))
        page.on('request', request => request.url() !== url && !request.url().startsWith('data:') && say(`requests ${request.url()}`))
        await page.goto(url)
        const title = await page.title()
        if (verdict && !title.startsWith(verdict.verdict)) say(`its title is ${JSON.stringify(title)}, and the verdict is ${verdict.verdict}`)
        ;(await page.evaluate(inspect)).forEach(say)
        await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true, timeout: 120_000 })
        await page.evaluate(() => document.querySelectorAll('details').forEach(details => (details.open = true)))
        ;(await page.evaluate(inspect)).forEach(problem => say(`with all unfolded: ${problem}`))
        if (verdict) missing(verdict, await page.evaluate(figures)).forEach(say)
        else (await page.evaluate(nights)).forEach(say)
        await context.close()
      }
    }
  }
} finally {
  await browser.close()
}

const unique = [...new Set(problems)]
unique.forEach(problem => console.error(problem))
console.log(`${folders.length} pages, ${WIDTHS.length} widths, light and dark: ${unique.length || 'no'} problems; pictures in ${shots}`)
process.exit(unique.length || !folders.length ? 1 : 0)
