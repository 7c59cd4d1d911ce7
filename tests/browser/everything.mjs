// Makes of a run that leaks one with everything in it that a report can show: places in the code, things that were kept,
// text that would break a page which does not escape it, a server judged by turns, and more targets than are shown whole.
import { readFileSync, writeFileSync } from 'node:fs'

const [from, to] = process.argv.slice(2)
const run = JSON.parse(readFileSync(from, 'utf8'))
const [leaking] = run.targets
const clone = value => structuredClone(value)
const hostile = `<script>alert(1)</script> "><img src=x onerror=alert(2)> ${'a-word-without-an-end'.repeat(20)} \u202E | \`code\` ]]>`

const frame = (func, file, line) => ({ function: func, file, line })
leaking.sites = [
  {
    frames: [
      frame('alloc::alloc::exchange_malloc', null, null),
      frame('cc_openai_wrapper::pool::slots::Slot::start::{{closure}}', 'src/pool/slots.rs', 212),
      frame('<tokio::runtime::task::core::Core<T, S> as core::future::future::Future>::poll', '/usr/local/cargo/registry/src/tokio/src/runtime/task/core.rs', 331),
    ],
    own: 1,
    blocks_per_restart: 2,
    bytes_per_restart: 4096,
  },
  { frames: [frame(hostile, hostile, 1)], own: 0, blocks_per_restart: 0.25, bytes_per_restart: 16 },
  { frames: [frame('malloc', null, null)], own: null, blocks_per_restart: 0.01, bytes_per_restart: 8 },
]
leaking.grown = [
  { what: 'process', name: hostile, more: 31 },
  { what: 'descriptor', name: 'pipe to /tmp/claude --output-format stream-json --verbose', more: 62 },
]
leaking.notes = [hostile, ...leaking.notes]
leaking.latency = {
  during: { requests: 31, p50_ms: 12.5, p95_ms: 40, max_ms: 55.1 },
  between: { requests: 120, p50_ms: 10.1, p95_ms: 14, max_ms: 20 },
}

// Somebody else's server: judged by turns, with an exception and things that could not be measured.
const outside = clone(leaking)
outside.scenario = 'outside'
outside.target = `python3 server.py --port 8000 ${hostile}`
outside.sites = []
outside.plan.outside = {
  per: 'turn',
  cli_processes_allowed: 3,
  memory_floor: 256000,
  exceptions: [
    { metric: 'files', allow: 200, reason: hostile, owner: 'ops', expires: '2027-03-31' },
  ],
  unmeasured: [hostile],
}

// A heap at three checkpoints, which grows more and more slowly.
const heap = clone(leaking)
heap.target = 'sut-heap'
heap.grown = []
heap.sites = []
const readings = [[20, 900, 200_000], [40, 1_000, 240_000], [80, 1_090, 260_000]]
heap.checkpoints = readings.map(([restarts, blocks, bytes]) => ({
  restarts,
  requests: restarts * 4,
  values: { heap_blocks: blocks, heap_bytes: bytes, tasks: 4 },
}))

const failed = clone(leaking)
failed.scenario = 'crashes'
failed.outcome = { kind: 'failed', what: hostile }
failed.checkpoints = []
failed.trace = []

const control = { name: 'fd', planted: ['fds_file'], run: clone(leaking) }
run.controls = [control, { name: 'clean', planted: [], run: { ...clone(heap), checkpoints: clone(heap.checkpoints) } }]
run.targets = [leaking, heap, outside, failed, { ...clone(leaking), scenario: 'streams' }]
writeFileSync(to, JSON.stringify(run))
