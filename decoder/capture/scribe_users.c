/*-------------------------------------------------------------------------
 *
 * scribe_users.c
 *	  Who has changed rows: with scribe.record_users, a message in the WAL.
 *
 * It is the last thing that a transaction with an id writes before its
 * commit record, and the decoder keeps the last one: what a user sends under
 * the same name comes before it.  A name is what the session says of itself,
 * and nothing is decided by it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "utils/guc.h"

#include "compat.h"
#include "scribe_capture.h"
#include "scribe_record.h"

#define LONGEST_WHO 256			/* bytes: three names, of which none is longer than 63 */

static bool record_users = false;

/* The address does not change while the session lasts. */
static const char *
own_address(void)
{
	static char address[NAMEDATALEN] = "";
	static bool known = false;

	if (!known)
	{
		char	   *found = client_address();

		if (found != NULL)
			snprintf(address, sizeof(address), "%s", found);
		known = true;
	}
	return address;
}

/* Control characters would end a name, or a line. */
static void
clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text < 0x20 || *text == 0x7f)
			*text = '?';
}

static void
note_user(XactEvent event, void *arg)
{
	char		who[LONGEST_WHO];
	char		application[NAMEDATALEN];
	char	   *role;
	int			length;

	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	if (!record_users || !XLogLogicalInfoActive() || !TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		!OidIsValid(MyDatabaseId))
		return;
	role = GetUserNameFromId(GetSessionUserId(), true);
	if (role == NULL)			/* dropped meanwhile */
		return;
	clean(role);
	snprintf(application, sizeof(application), "%s", application_name ? application_name : "");
	clean(application);
	length = snprintf(who, sizeof(who), "%s\t%s\t%s", role, own_address(), application);
	if (length < (int) sizeof(who))
		log_message("scribe.session", who, length);
	pfree(role);
}

void
users_init(void)
{
	DefineCustomBoolVariable("scribe.record_users",
							 "Records the session's user, address and application for each transaction that writes.",
							 "Takes effect where the library is preloaded, and the WAL is decoded.",
							 &record_users, false, PGC_SUSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(note_user, NULL);
}
