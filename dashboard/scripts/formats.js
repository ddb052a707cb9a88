// The same texts as dashboard/formats.py: a number must not change its look when the socket takes over.

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
const MINUTE = 60, HOUR = 3600, DAY = 86400
const NAME_WIDTH = 36

const known = (value) => value !== null && value !== undefined
const whole = Math.floor

const halfUp = (value, scale) => whole(value * scale + 0.5) / scale
const decimals = (value, unit) => (unit >= 2 && halfUp(value, 10) < (unit >= 3 ? 100 : 10) ? 1 : 0)
const rounded = (value, unit) => halfUp(value, decimals(value, unit) ? 10 : 1)

export function bytesText(sizeBytes) {
  if (!known(sizeBytes)) return 'unknown size'
  let value = sizeBytes, unit = 0
  while (rounded(value, unit) >= 1000 && unit < BYTE_UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${rounded(value, unit).toFixed(decimals(value, unit))} ${BYTE_UNITS[unit]}`
}

export const speedText = (bytesPerSecond) => (known(bytesPerSecond) ? `${bytesText(bytesPerSecond)}/s` : '')

export function durationText(seconds) {
  if (!known(seconds)) return ''
  const total = whole(Math.max(seconds, 0) + 0.5)
  if (total < MINUTE) return `${total}s`
  if (total < HOUR) return `${whole(total / MINUTE)}m ${total % MINUTE}s`
  if (total < DAY) return `${whole(total / HOUR)}h ${whole((total % HOUR) / MINUTE)}m`
  return `${whole(total / DAY)}d ${whole((total % DAY) / HOUR)}h`
}

export const percentText = (percent) => (known(percent) ? `${whole(percent)}%` : '')

export function shortName(name, width = NAME_WIDTH) {
  const stem = [...name.replace(/\.safetensors$/, '')]
  if (stem.length <= width) return stem.join('')
  const tail = whole((width - 1) / 2)
  return `${stem.slice(0, width - 1 - tail).join('')}…${stem.slice(-tail).join('')}`
}
