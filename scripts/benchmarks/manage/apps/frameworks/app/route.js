// Next.js: a route handler that answers the pid.
export const dynamic = 'force-dynamic';

export function GET() {
  return new Response(`${process.pid}`);
}
