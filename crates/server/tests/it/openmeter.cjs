// Sends events with the published client of OpenMeter, which lies in the working folder's node_modules:
// `node openmeter.cjs URL API_KEY`. Says how each call ended, a line of JSON for each.
const { createRequire } = require('node:module')
const path = require('node:path')

const { OpenMeter } = createRequire(path.join(process.cwd(), 'tools.js'))('@openmeter/sdk')
const [url, apiKey] = process.argv.slice(2)
const openmeter = new OpenMeter({ baseUrl: url, apiKey })

const time = new Date('2026-11-02T09:30:00.250Z')
const prompt = (id, tokens, subject = 'acme') => ({
  id,
  source: 'gateway',
  type: 'prompt',
  subject,
  time,
  data: { usage: { tokens }, user: 'ada', model: 'large' },
})

const calls = [
  ['single', () => openmeter.events.ingest(prompt('e-1', 120))],
  ['batch', () => openmeter.events.ingest([prompt('e-2', 0.5), prompt('e-3', '7'), prompt('e-4', 1)])],
  ['retry', () => openmeter.events.ingest([prompt('e-1', 120), prompt('e-2', 0.5), prompt('e-3', '7')])],
  ['own id, source and time', () => openmeter.events.ingest({ type: 'page', subject: 'acme' })],
  ['wrong', () => openmeter.events.ingest([prompt('e-5', 1), prompt('e-6', -1)])],
  ['stranger', () => new OpenMeter({ baseUrl: url, apiKey: 'no-key' }).events.ingest(prompt('e-7', 1))],
]

async function main() {
  for (const [call, send] of calls) {
    try {
      await send()
      console.log(JSON.stringify({ call, ok: true }))
    } catch (error) {
      const problem = error.__raw ?? error
      console.log(JSON.stringify({ call, ok: false, name: error.name, status: error.status, message: error.message, problem }))
    }
  }
}

main()
