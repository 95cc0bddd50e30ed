// How long stripe-sync-engine's synchronous write takes, in open loop: `processWebhook`, without HTTP before it, of signed webhooks
// of new customers, due at moments fixed beforehand (exponential gaps); a latency counts from that moment.
//
// DATABASE_URL=… node latency.cjs PLAN   PLAN: {"bytes", "saturation", "seconds", "warmUp", "rates", "shares"} as JSON
// Prints lines of `measured ` and a JSON object: {"capacity"}, then for each of `rates` and for each of `shares` of the capacity
// {"rate", "p50", "p90", "p99", "longest"}, milliseconds.
const { StripeSync, runMigrations } = require('@supabase/stripe-sync-engine')
const Stripe = require('stripe')

const secret = 'whsec_bench'
const connections = 10 // of its pool: as many as took most on two cores
const inFlight = 50
const plan = JSON.parse(process.argv[2])
const stripe = new Stripe('sk_test_bench')
let customers = 0

function webhook() {
  const id = `cus_${String(customers++).padStart(12, '0')}`
  const now = Math.floor(Date.now() / 1000)
  const object = {
    id, object: 'customer', address: null, balance: 0, created: now, currency: 'usd', default_source: null, delinquent: false,
    description: '', discount: null, email: `${id}@example.com`, invoice_prefix: 'A', invoice_settings: {}, livemode: false,
    metadata: {}, name: id, next_invoice_sequence: 1, phone: null, preferred_locales: [], shipping: null, tax_exempt: 'none',
  }
  const event = { id: `evt_${id}`, object: 'event', type: 'customer.created', created: now, data: { object } }
  object.description = 'x'.repeat(Math.max(plan.bytes - JSON.stringify(event).length, 0))
  const payload = JSON.stringify(event)
  return [Buffer.from(payload), stripe.webhooks.generateTestHeaderString({ payload, secret })]
}

const ahead = (count) => Array.from({ length: count }, webhook)

async function saturate(engine, seconds) {
  const webhooks = ahead(Math.ceil(15000 * seconds)) // more than it takes
  const began = performance.now()
  const end = began + seconds * 1000
  let next = 0
  await Promise.all(Array.from({ length: inFlight }, async () => {
    while (performance.now() < end && next < webhooks.length) await engine.processWebhook(...webhooks[next++])
  }))
  return next / ((performance.now() - began) / 1000)
}

async function openLoop(engine, rate) {
  const due = []
  for (let at = 0; at < (plan.warmUp + plan.seconds) * 1000; at += -Math.log(1 - Math.random()) * 1000 / rate) due.push(at)
  const webhooks = ahead(due.length)
  const latencies = new Float64Array(due.length)
  const began = performance.now()
  let next = 0
  let done = 0
  await new Promise((resolve, reject) => {
    const turn = () => {
      while (next < due.length && due[next] <= performance.now() - began) {
        const number = next++
        engine.processWebhook(...webhooks[number]).then(() => {
          latencies[number] = performance.now() - began - due[number]
          if (++done === due.length) resolve()
        }, reject)
      }
      // timers keep to whole milliseconds; the last two are waited out turn by turn of the event loop
      const wait = due[next] - (performance.now() - began)
      if (next < due.length) wait > 2 ? setTimeout(turn, wait - 2) : setImmediate(turn)
    }
    turn()
  })
  const counted = latencies.filter((_, number) => due[number] >= plan.warmUp * 1000).sort()
  const percentile = (share) => counted[Math.max(Math.ceil(share * counted.length) - 1, 0)]
  return { rate, p50: percentile(0.5), p90: percentile(0.9), p99: percentile(0.99), longest: percentile(1) }
}

async function main() {
  const databaseUrl = process.env.DATABASE_URL
  await runMigrations({ databaseUrl, schema: 'stripe' })
  const engine = new StripeSync({
    poolConfig: { connectionString: databaseUrl, max: connections },
    stripeSecretKey: 'sk_test_bench',
    stripeWebhookSecret: secret,
    backfillRelatedEntities: false,
  })
  const say = (measured) => console.log(`measured ${JSON.stringify(measured)}`)
  await saturate(engine, plan.warmUp)
  const capacity = await saturate(engine, plan.saturation)
  say({ capacity })
  for (const rate of [...plan.rates, ...plan.shares.map((share) => share * capacity)]) say(await openLoop(engine, rate))
  process.exit(0)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
