// The strip of figures about the machine, and its curves.

import { data, store } from './alpine.js'
import { bytesText, speedText } from './formats.js'

const WIDTH = 120, HEIGHT = 28, SLOTS = 60
const system = store('system')

const round = (value) => Math.round(value * 10) / 10

/** An SVG path through `values`, the newest at the right edge; `top` is the value at full height. */
function line(values, top) {
  const step = WIDTH / (SLOTS - 1)
  const start = WIDTH - (values.length - 1) * step
  return values.map((value, index) => {
    const y = HEIGHT - 1 - Math.min(value / (top || 1), 1) * (HEIGHT - 2)
    return `${index ? 'L' : 'M'}${round(start + index * step)} ${round(y)}`
  }).join('')
}

function area(values, top) {
  if (values.length < 2) return ''
  const start = round(WIDTH - (values.length - 1) * WIDTH / (SLOTS - 1))
  return `${line(values, top)}V${HEIGHT}H${start}z`
}

const bars = (loads) => loads.map((load, index) => `M${index * 8} 28v-${round(load * 0.28)}h6V28z`).join('')
const number = (text) => text?.split(' ')[0]
const unit = (text) => text?.split(' ')[1]
const whole = (percent) => (percent === undefined ? undefined : Math.round(percent ?? 0))

data('telemetry', () => ({
  get status() { return system.status ?? undefined },
  get memoryText() { return this.status && bytesText(this.status.memory.used_bytes) },
  get diskText() { return this.status && bytesText(this.status.disk.used_bytes) },
  get networkText() { return this.status && speedText(this.status.network.received_bytes_per_second) },
  get gpu() { return whole(this.status?.gpus[0]?.utilization_percent) },
  get gpuUnit() { return undefined },
  get gpuHeat() {
    const { temperature_celsius: heat, power_watts: watts } = this.status?.gpus[0] ?? {}
    return this.status && [heat === null ? '' : `${heat} °C`, watts === null ? '' : `${whole(watts)} W`].filter(Boolean).join(' · ')
  },
  get gpuLine() { return line(system.history.gpu, 100) },
  get gpuArea() { return area(system.history.gpu, 100) },
  get cpu() { return whole(this.status?.cpu.percent) },
  get cpuUnit() { return undefined },
  get cores() { return this.status && bars(this.status.cpu.per_core) },
  get memory() { return number(this.memoryText) },
  get memoryUnit() { return unit(this.memoryText) },
  get memoryTop() { return this.status?.memory.total_bytes },
  get memoryLine() { return line(system.history.memory, this.memoryTop) },
  get memoryArea() { return area(system.history.memory, this.memoryTop) },
  get disk() { return number(this.diskText) },
  get diskUnit() { return unit(this.diskText) },
  get diskUsed() { return this.status?.disk.used_bytes },
  get diskFree() { return this.status && bytesText(this.status.disk.free_bytes) },
  get network() { return number(this.networkText) },
  get networkUnit() { return unit(this.networkText) },
  get networkTop() { return Math.max(1e6, ...system.history.received, ...system.history.sent) },
  get networkLine() { return line(system.history.received, this.networkTop) },
  get networkArea() { return area(system.history.received, this.networkTop) },
  get sent() { return this.status && speedText(this.status.network.sent_bytes_per_second) },
  get sentLine() { return line(system.history.sent, this.networkTop) },
}))
